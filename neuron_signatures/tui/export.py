"""`e`: the screen as a text file and a JSON file in the current folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.tui.output import Printed, json_text, text_lines

EXPORT_COLUMNS = 160
_ROWS = 1000
"""Rows of a table that are exported; `--print --limit 0` writes all."""
_MOST = 1000
"""Number of files with the same name."""


def export(shown: Printed, protected: Path) -> Path:
    """Write both files, and return the path of the text. Existing files are never replaced.

    `protected`: the run, or the folder of runs, in which nothing is written. Raises `UsageError` or `OSError`.
    """
    folder = Path.cwd()
    if folder.resolve().is_relative_to(protected.resolve()):
        raise UsageError(
            "the current folder is inside the run", where=str(folder), next_step="Start the browser in another folder"
        )
    n = min(_ROWS, len(shown.table)) if shown.table is not None else 0
    more = "--print --limit 0 writes all"
    text = "\n".join(text_lines(shown, n, EXPORT_COLUMNS, more=more)) + "\n"
    data = json_text(shown, n) + "\n"
    for path in _names(folder, _stem(shown)):
        json_path = path.with_name(f"{path.stem}.json")
        with contextlib.suppress(FileExistsError):
            _write_both({path: text, json_path: data})
            return path
    raise UsageError(f"there are already {_MOST} exports of this screen", where=str(folder))


def _stem(shown: Printed) -> str:
    """`demo_run_browser_L3N508_seed_prompt`, with other characters than letters and digits as `-`."""
    r = shown.record
    neuron = f"L{r['layer']}N{r['neuron']}" if "neuron" in r and "layer" in r else None
    run = Path(str(r["run"])).name if "run" in r else None
    parts = (run, r.get("screen"), neuron, r.get("prompt_id"), r.get("list"))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(str(p) for p in parts if p))[:120].lstrip(".-") or "export"


def _names(folder: Path, stem: str) -> Iterator[Path]:
    yield folder / f"{stem}.txt"
    yield from (folder / f"{stem}-{i}.txt" for i in range(2, _MOST + 1))


def _write_both(files: dict[Path, str]) -> None:
    """Both files or none. Raises `FileExistsError` if one exists."""
    made: list[Path] = []
    try:
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as f:
                made.append(path)
                f.write(text)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
