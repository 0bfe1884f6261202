"""Screenshots of every view of the web explorer for docs/explore.md, with a real server and a headless Chromium.

python scripts/shoot_explorer.py --runs_root runs --run demo --out_dir docs
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench_explorer import APP, Server, chromium_path

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DONE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
# View, height of the screenshot, and the button that is clicked first.
SHOTS = (
    ("overview", 1010, ""),
    ("neuron", 1180, ""),
    ("ranking", 900, ""),
    ("validation", 1440, "Validation"),
    ("signatures", 1180, ""),
    ("map", 810, ""),
    ("query", 1000, ""),
)
DARK = ("neuron",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs_root", type=Path, default=Path("runs"))
    parser.add_argument("--run", default="demo")
    parser.add_argument("--out_dir", type=Path, default=Path("docs"))
    parser.add_argument("--only", nargs="*", help="views to capture; default: all")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    flags = ("--runs_root", str(args.runs_root), "--run", args.run)
    with Server(APP, *flags) as server, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        for name, height, click in SHOTS:
            if args.only and name not in args.only:
                continue
            view = "ranking" if name == "validation" else name
            address = server.url(f"?run={args.run}&view={view}")
            for scheme in ("light", "dark") if name in DARK else ("light",):
                tail = "-dark" if scheme == "dark" else ""
                _shoot(browser, address, args.out_dir / f"explore-{name}{tail}.png", height, scheme, click)
        browser.close()


def _shoot(browser: Browser, url: str, file: Path, height: int, scheme: str, click: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    _settle(page)
    if click:
        page.get_by_role("radio", name=click).or_(page.get_by_role("button", name=click, exact=True)).first.click()
        page.wait_for_timeout(500)
        _settle(page)
    page.wait_for_timeout(1500)  # for plotly and the fonts
    page.screenshot(path=file)
    page.close()
    print(f"{file}: {file.stat().st_size // 1000} kB")


def _settle(page) -> None:  # type: ignore[no-untyped-def]
    page.wait_for_selector(DONE, timeout=300_000)
    page.wait_for_function('!document.querySelector(\'[data-stale="true"], [data-testid="stSkeleton"]\')')


if __name__ == "__main__":
    main()
