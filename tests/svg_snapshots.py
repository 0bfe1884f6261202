"""Compare a screen with its reference picture in tests/snapshots."""

from __future__ import annotations

import difflib
import html
import os
import re
from pathlib import Path

from textual.app import App

FOLDER = Path(__file__).parent / "snapshots"
HOW = "UPDATE_SNAPSHOTS=1 python -m pytest tests/tui/test_snapshots.py"


def picture(app: App) -> str:
    """The screen as SVG, without parts that differ between runs (ids, fonts) and without clip paths."""
    svg = app.export_screenshot(title="neuron signatures")
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    svg = re.sub(r'<clipPath id="terminal-line.*?</clipPath>\s*|<!--.*?-->\s*', "", svg, flags=re.S)
    svg = re.sub(r' clip-path="url\(#terminal-line-\d+\)"', "", svg)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return svg.replace("font-family: Fira Code, monospace", "font-family: monospace").strip() + "\n"


def check_snapshot(app: App, name: str, tmp_path: Path, folder: Path = FOLDER) -> None:
    """Fail if the screen differs from `<folder>/<name>.svg`; with UPDATE_SNAPSHOTS set, write that file."""
    reference, now = folder / f"{name}.svg", picture(app)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        folder.mkdir(exist_ok=True)
        reference.write_text(now, encoding="utf-8")
        return
    assert reference.exists(), f"there is no reference picture; check and commit what `{HOW}` writes"
    before = reference.read_text(encoding="utf-8")
    if now != before:
        actual = tmp_path / f"{name}.svg"
        actual.write_text(now, encoding="utf-8")
        lines = difflib.unified_diff(words(before), words(now), "reference", "now", lineterm="", n=1)
        raise AssertionError(
            f"the screen changed: open {reference} and {actual} in a browser; if the change is intended, run `{HOW}`.\n"
            + ("\n".join(lines) or "Only colours or positions differ.")
        )


def words(svg: str) -> list[str]:
    """The lines of text in a picture."""
    rows: dict[str, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(y, []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return ["".join(t for _, t in sorted(rows[y])).rstrip() for y in sorted(rows, key=float)]
