"""From the name of a run, which may come from a stranger, to its folder under the runs root."""

from __future__ import annotations

import re
from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import escape


def run_folder(root: Path, name: str) -> Path:
    """The folder of the run `name` under `root`. Raises `UsageError` if it does not exist or is elsewhere."""
    shown = escape(name[:60])
    if not name or name in (".", "..") or re.search(r"[/\\\0:]", name) or not is_text(name):
        raise UsageError(f"{shown!r} is not the name of a run", next_step="Choose one from the list")
    path = root / name
    try:
        there = path.is_dir()
        outside = path.resolve().parent != root.resolve()
    except (OSError, ValueError, RuntimeError) as e:  # name too long, surrogates, symlink loop
        raise UsageError(f"{shown!r} is not the name of a run", next_step="Choose one from the list") from e
    if there and outside:
        raise UsageError(f"run {shown!r} is a link to a path outside the runs root", next_step="Copy the run there")
    if not there:
        raise UsageError(f"there is no run {shown!r}", where=str(root), next_step="Choose one from the list")
    return path


def is_text(name: str) -> bool:
    """Whether a folder name is valid text; file systems allow arbitrary bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
