"""Screenshots of every view of the web explorer for docs/explore.md, with a real server and a headless Chromium.

    python scripts/shoot_explorer.py --runs_root runs --run demo --out_dir docs

With --widths or --themes, whole pages of these widths and themes instead, to look for faults:

    python scripts/shoot_explorer.py --widths 800 1280 1680 --themes light dark --out_dir shots
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from bench_explorer import APP, Server, chromium_path

from neuron_signatures.runs.circuits.folder import list_circuits
from neuron_signatures.runs.comparisons.folder import list_comparisons
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.results import ANALYSIS, WRITES_META, list_interventions
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.tables import finished_modes
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER
from neuron_signatures.views.explanations.reading import has_explanations
from neuron_signatures.views.records.commands import has_records
from neuron_signatures.views.scores.reading import has_scores

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DONE = '[data-testid="stApp"][data-test-script-state="notRunning"]'


class Shot(NamedTuple):
    """A picture of the documentation."""

    name: str
    height: int
    address: str
    """The part of the page's address after the run."""
    clicks: tuple[str, ...] = ()
    """The buttons that are clicked first."""


SHOTS = (
    Shot("overview", 1010, "view=overview"),
    Shot("neuron", 1180, "view=neuron"),
    Shot("compare", 1000, "view=compare&pins=L4N178,L3N508,L1N440"),
    Shot("ranking", 1000, "view=ranking"),
    Shot("validation", 1440, "view=ranking", ("Validation",)),
    Shot("contrast", 900, "view=contrast", ("concepts=capital@token: is against what it leaves",)),
    Shot("signatures", 1180, "view=signatures"),
    Shot("map", 810, "view=map"),
    Shot("query", 1000, "view=query"),
)
# Only of a run with a swap, the newest of which it shows.
INTERVENTIONS = Shot("interventions", 1500, "view=interventions&result=")
# Only of a run with records of a corpus.
CORPUS = Shot("corpus", 1180, "view=neuron&on=corpus")
# Only of a run with explanations.
EXPLANATIONS = Shot("explanations", 900, "view=explanations")
# Only of a run with write scores.
SEARCH = Shot("search", 860, "view=search&q=%C2%B7Austin&by=promotes")
# Only of a run with scores.
SCORES = Shot("scores", 1180, "view=scores")
# Only of a run with what units do on labelled texts.
SKILLS = Shot("skills", 1900, "view=skills")
# Only of a run with the results of stage 8, of clusters, of n-grams, and of stage 9.
WEIGHTS = Shot("weights", 1250, "view=weights&layer=3&neuron=508")
CLUSTERS = Shot("clusters", 1350, "view=clusters")
CORPUS_QUERY = Shot("corpus-query", 860, "view=query&on=corpus")
DRIFT = Shot("drift", 1900, "view=drift")
# Only of a run with a circuit.
CIRCUIT = Shot("circuit", 1560, "view=circuit&node=0_363_7")
# With a server of the run's model.
LIVE = Shot("live", 2480, "view=live&layer=4&neuron=178", (
    "Run", "Neurons with influence", "Edit the first 10 with positive influence together", "Apply",
))  # fmt: skip
DARK = ("neuron",)
WIDTH, TALLEST = 1280, 4200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs_root", type=Path, default=Path("runs"))
    parser.add_argument("--run", default="demo")
    parser.add_argument("--out_dir", type=Path, default=Path("docs"))
    parser.add_argument("--only", nargs="*", help="views to capture; default: all")
    parser.add_argument("--widths", nargs="*", type=int, metavar="PIXELS", help="whole pages of these widths")
    parser.add_argument("--themes", nargs="*", choices=("light", "dark"), help="whole pages in these themes")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    whole = bool(args.widths or args.themes)
    run_dir = args.runs_root / args.run
    with ExitStack() as stack:
        live = (
            stack.enter_context(_live_server(run_dir)) if not args.only or "live" in args.only else "http://127.0.0.1:9"
        )
        flags = ("--runs_root", str(args.runs_root), "--run", args.run, "--server", live)
        server, p = stack.enter_context(Server(APP, *flags)), stack.enter_context(sync_playwright())
        browser = p.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        for shot in (
            *SHOTS,
            *_of_swap(run_dir),
            *_of_records(run_dir),
            *_of_explanations(run_dir),
            *_of_writes(run_dir),
            *_of_scores(run_dir),
            *_of_skills(run_dir),
            *_at_large(run_dir),
            *_of_circuits(run_dir),
            LIVE,
        ):
            if args.only and shot.name not in args.only:
                continue
            address = server.url(f"?run={args.run}&{shot.address}")
            for width in args.widths or [WIDTH]:
                for theme in args.themes or (("light", "dark") if shot.name in DARK and not whole else ("light",)):
                    tail = f"-{width}-{theme}" if whole else "-dark" if theme == "dark" else ""
                    file = args.out_dir / f"explore-{shot.name}{tail}.png"
                    _shoot(browser, address, file, shot, width, theme, whole=whole)
        browser.close()


@contextmanager
def _live_server(run_dir: Path) -> Iterator[str]:
    """The address of a server with the run's model."""
    model = Run.open(run_dir).manifest.model_name
    command = [sys.executable, "-m", "neuron_signatures.serve", "--quiet", "--model_name", model, "--runs_root",
               str(run_dir.parent), "--port", "0", "--embedder", "none"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)


def _of_swap(run_dir: Path) -> list[Shot]:
    """The picture of the newest swap, if there is one."""
    swaps = [stem for stem in list_interventions(run_dir) if stem.startswith("swap_")]
    return [INTERVENTIONS._replace(address=INTERVENTIONS.address + quote(swaps[-1]))] if swaps else []


def _of_records(run_dir: Path) -> list[Shot]:
    """The picture of a neuron on a corpus, if the run has records."""
    return [CORPUS] if has_records(run_dir) else []


def _of_explanations(run_dir: Path) -> list[Shot]:
    """The picture of the list of explanations, if the run has some."""
    return [EXPLANATIONS] if has_explanations(run_dir) else []


def _of_writes(run_dir: Path) -> list[Shot]:
    """The picture of a search for who promotes a token, if the run has write scores."""
    return [SEARCH] if (run_dir / ANALYSIS / WRITES_META).is_file() else []


def _of_scores(run_dir: Path) -> list[Shot]:
    """The picture of scores over neurons, if the run has some."""
    return [SCORES] if has_scores(run_dir) else []


def _of_skills(run_dir: Path) -> list[Shot]:
    """The picture of classes and their units, if the run has some."""
    return [SKILLS] if "compare" in finished_modes(run_dir) else []


def _at_large(run_dir: Path) -> list[Shot]:
    """The pictures of neurons at large, as far as the run has them."""
    done = CORPUS_ANALYSIS_FOLDER.finished(run_dir)
    there = {
        WEIGHTS: bool(WEIGHTS_FOLDER.finished(run_dir)), CLUSTERS: "clusters" in done, CORPUS_QUERY: "ngrams" in done,
        DRIFT: bool(list_comparisons(run_dir)),
    }  # fmt: skip
    return [shot for shot, has in there.items() if has]


def _of_circuits(run_dir: Path) -> list[Shot]:
    """The picture of the first circuit, if the run has one."""
    return [CIRCUIT] if list_circuits(run_dir) else []


def _shoot(browser: Browser, url: str, file: Path, shot: Shot, width: int, theme: str, *, whole: bool) -> None:
    page = browser.new_page(viewport={"width": width, "height": shot.height}, color_scheme=theme)  # type: ignore[arg-type]
    page.goto(url)
    _settle(page)
    for click in shot.clicks:
        buttons = page.get_by_role("radio", name=click).or_(page.get_by_role("button", name=click, exact=True))
        if buttons.count():  # another run may not have it
            buttons.first.click()
            page.wait_for_timeout(1000)
            _settle(page)
    if whole:
        height = int(page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollHeight"))
        page.set_viewport_size({"width": width, "height": min(height + 20, TALLEST)})
        _settle(page)
    page.wait_for_timeout(1500)  # for plotly and the fonts
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file)
    page.close()
    print(f"{file}: {file.stat().st_size // 1000} kB")


def _settle(page) -> None:  # type: ignore[no-untyped-def]
    page.wait_for_selector(DONE, timeout=300_000)
    page.wait_for_function('!document.querySelector(\'[data-stale="true"], [data-testid="stSkeleton"]\')')


if __name__ == "__main__":
    main()
