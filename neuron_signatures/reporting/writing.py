"""Writing the report to a file, and never over one that is not a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.reporting.build import GENERATOR, build
from neuron_signatures.reporting.settings import Settings
from neuron_signatures.runs.errors import UsageError, escape_controls
from neuron_signatures.runs.files import human_bytes, write_text
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable

_MARK = f'content="{GENERATOR}"'.encode()
_HEAD_BYTES = 4096


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if the report cannot be written there: no folder, or a file that is not a report of ours."""
    if path.is_dir():
        raise UsageError("this is a folder", where=str(path), next_step="Give a file name to --out")
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent))
    if path.is_symlink():
        raise UsageError("this is a link, so nothing is written to it", where=str(path), next_step="Use another --out")
    if path.exists() and not overwrite and not is_report(path):
        raise UsageError(
            "this file exists and is not a report", where=str(path), next_step="Use another --out, or --overwrite"
        )


def is_report(path: Path) -> bool:
    """Whether the file is a report of this tool."""
    try:
        with open_regular(path) as f:
            return _MARK in f.read(_HEAD_BYTES)
    except (OSError, NotReadableError):
        return False


def write_report(run_dir: Path, settings: Settings, path: Path) -> Iterator[str]:
    """Write the report of a run; yields the lines that say what was written."""
    with Run.open(run_dir) as run:
        report = build(run, settings)
    html = encodable(report.html)
    write_text(path.parent, path.name, html)
    yield f"written  {escape_controls(str(path))}, {human_bytes(len(html.encode()))}"
    if report.problems:
        parts = "part of the run" if report.problems == 1 else "parts of the run"
        yield f"note     {report.problems} {parts} cannot be shown; the report says why"
    if report.left_out:
        yield f"note     {report.left_out}"
