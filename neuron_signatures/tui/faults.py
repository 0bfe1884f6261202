"""Errors of a run as one line of text."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.errors import ProjectError


def fault_text(e: ProjectError | OSError) -> str:
    """The error with its file and the next step."""
    if isinstance(e, ProjectError):
        return e.line()
    return f"{e.filename or 'the run'}: {e.strerror or e}"


def short_fault(e: ProjectError | OSError) -> str:
    """The file name without its folder, and the reason."""
    if isinstance(e, ProjectError):
        return f"{Path(e.where).name}: {e.what}" if e.where else e.what
    return f"{Path(e.filename or 'the run').name}: {e.strerror or e}"
