"""Opening a run: where the flags say, otherwise on the first neuron of the list that answers the newest target."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor, first_cursor, keep_inside
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.tables.ranked_list import ListView, Walk, cursor_of_row, peak_of_row
from neuron_signatures.views.lists.list_files import read_list
from neuron_signatures.views.lists.validated import landing_list


@dataclass(frozen=True)
class OpenResult:
    """A run folder that was opened, or the `fault` that prevented it (`opened` and `cursor` are None)."""

    run_dir: Path
    opened: OpenedRun | None
    cursor: Cursor | None
    fault: str = ""
    walk: Walk | None = None
    """The list that is open at the start."""


def open_run(run_dir: Path, options: Options, cursor: Cursor | None) -> OpenResult:
    """Open a run at `cursor`, or at its landing, and read the first values into the cache.

    Raises `UsageError` if the flags name something that the run does not have.
    """
    try:
        opened = OpenedRun.open(run_dir)
    except (BadRunError, OSError) as e:
        return OpenResult(run_dir, None, None, fault_text(e))
    walk = None
    if cursor is None:
        cursor, walk = landing(opened, options)
    else:
        cursor = keep_inside(opened.run, cursor)
    with contextlib.suppress(ProjectError, OSError):  # shown when the browser reads the values
        opened.values(cursor)
    return OpenResult(run_dir, opened, cursor, walk=walk)


def landing(opened: OpenedRun, options: Options) -> tuple[Cursor, Walk | None]:
    """Where the flags say, without a list; without such flags, the first stored neuron of `default_view`.

    Raises `UsageError` if the flags name something that the run does not have.
    """
    now = first_cursor(opened.run, options)
    if options.names_a_place:
        return now, None
    view = default_view(opened, described=False)
    walk = first_stored(view, opened.run) if view else None
    if walk is None:
        return now, None
    row = walk.row()
    cursor = cursor_of_row(opened.run, row, now)
    if cursor is None:
        try:
            cursor = peak_of_row(opened.run, row, now)
        except (ProjectError, OSError):
            return now, None
    return cursor, walk


def default_view(opened: OpenedRun, *, described: bool) -> ListView | None:
    """The list that is open without a choice; None if there is none, or it cannot be read.

    Not `described`: without what neurons write and where they fire, which takes longer to read than the list.
    """
    ref = landing_list(opened.run.path, opened.refs())
    try:
        if ref is None or described:
            return ref and ListView.read(opened, ref)
        return replace(ListView.of(read_list(opened.run.path, ref)), files=opened.list_stamps(ref))
    except (ProjectError, OSError):
        return None


def first_stored(view: ListView, run: Run) -> Walk | None:
    """The first row whose neuron is stored; None if there is none."""
    return Walk(view, -1).step(1, run)
