"""Comparing a screen with the picture of it that is kept in tests/snapshots."""

from __future__ import annotations

import difflib
import html
import os
import re
from pathlib import Path

from textual.app import App

FOLDER = Path(__file__).parent / "snapshots"
HOW = "UPDATE_SNAPSHOTS=1 python -m pytest tests/test_tui_snapshots.py"


def picture(app: App) -> str:
    """The screen as SVG, without what differs between two runs (ids made from the content), fonts of other hosts and
    clipping of lines that are never too long.
    """
    svg = app.export_screenshot(title="neuron signatures")
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    svg = re.sub(r'<clipPath id="terminal-line.*?</clipPath>\s*|<!--.*?-->\s*', "", svg, flags=re.S)
    svg = re.sub(r' clip-path="url\(#terminal-line-\d+\)"', "", svg)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return svg.replace("font-family: Fira Code, monospace", "font-family: monospace").strip() + "\n"


def check_snapshot(app: App, name: str, tmp_path: Path, folder: Path = FOLDER) -> None:
    """Fail if the screen is not as in `<folder>/<name>.svg`; write it instead if UPDATE_SNAPSHOTS is set."""
    kept, now = folder / f"{name}.svg", picture(app)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        folder.mkdir(exist_ok=True)
        kept.write_text(now, encoding="utf-8")
        return
    assert kept.exists(), f"there is no picture of this screen yet; look at what `{HOW}` writes and commit it"
    before = kept.read_text(encoding="utf-8")
    if now != before:
        actual = tmp_path / f"{name}.svg"
        actual.write_text(now, encoding="utf-8")
        lines = difflib.unified_diff(words(before), words(now), "kept", "now", lineterm="", n=1)
        raise AssertionError(
            f"the screen changed: open {kept} and {actual} in a web browser; if it should look so, run `{HOW}`.\n"
            + ("\n".join(lines) or "The text is the same: colours or places differ.")
        )


def words(svg: str) -> list[str]:
    """The text of a picture, line by line."""
    rows: dict[str, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(y, []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return ["".join(t for _, t in sorted(rows[y])).rstrip() for y in sorted(rows, key=float)]
