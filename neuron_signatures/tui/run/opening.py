"""Opening a run: where the flags say, otherwise on the first neuron of the list that answers the newest target."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.result_records import InfluenceRecord, SelectedRecord, read_record
from neuron_signatures.runs.results import meta_name
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.options import SEARCH_WAYS, WITHOUT_PROMPTS, Options
from neuron_signatures.tui.run.cursor import Cursor, first_cursor, keep_inside
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.tables.ranked_list import ListView, Walk, cursor_of_row, peak_of_row
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import read_list
from neuron_signatures.views.lists.ranked import Row
from neuron_signatures.views.lists.validated import landing_list

_FEW = 1000
"""Rows of JSON that are read faster than the Parquet table."""


@dataclass(frozen=True)
class OpenResult:
    """A run folder that was opened, or the `fault` that prevented it (`opened` and `cursor` are None)."""

    run_dir: Path
    opened: OpenedRun | None
    cursor: Cursor | None
    fault: str = ""
    walk: Walk | None = None
    """The list that is open at the start."""
    listed: bool = False
    """Whether `cursor` is the start of a list that has not been read: `landing` then opens it."""


def open_run(run_dir: Path, options: Options, cursor: Cursor | None) -> OpenResult:
    """Open a run at `cursor`, or at its landing, and read the first values into the cache.

    Raises `UsageError` if the flags name something that the run does not have.
    """
    try:
        opened = OpenedRun.open(run_dir)
    except (BadRunError, OSError) as e:
        return OpenResult(run_dir, None, None, fault_text(e))
    walk, listed = None, False
    if cursor is None:
        cursor = first_selected(opened, options)
        listed = cursor is not None
        if cursor is None:
            cursor, walk = landing(opened, options)
    else:
        cursor = keep_inside(opened.run, cursor)
    if opened.run.prompts:
        with contextlib.suppress(ProjectError, OSError):  # shown when the browser reads the values
            opened.values(cursor)
    return OpenResult(run_dir, opened, cursor, walk=walk, listed=listed)


def check_screen(options: Options) -> None:
    """Raise `UsageError` for a screen that a run without prompts does not have."""
    if options.screen is not None and options.screen not in WITHOUT_PROMPTS:
        screens = " or ".join(f"--screen {s}" for s in WITHOUT_PROMPTS)
        raise UsageError(f"this run holds no prompts, so it has no screen {options.screen}", next_step=f"Use {screens}")
    if options.screen == "search" and options.by == SEARCH_WAYS[0]:
        raise UsageError("this run holds no prompts to search", next_step=f"Use --by {' or '.join(SEARCH_WAYS[1:])}")


def first_selected(opened: OpenedRun, options: Options) -> Cursor | None:
    """Where `landing` leads, from the few rows of an influence list in JSON, without importing pyarrow.

    None if the flags name a place or a screen, or if these rows do not say it. The table can contradict them, if one of
    the files was changed later.
    """
    now, run = first_cursor(opened.run, options), opened.run
    ref = None
    if not options.names_a_place and options.screen in (None, "browser"):
        ref = landing_list(run.path, opened.refs())
    if ref is None or ref.kind != "influence" or ref.file:
        return None
    try:
        record = read_record(run.path, meta_name(ref.stem), InfluenceRecord)
        if record.n_selected > _FEW:
            return None
        found = read_record(run.path, f"{ref.stem}.json", SelectedRecord)
    except (ProjectError, OSError):
        return None
    expected = (record.metric, record.total_abs_influence, record.n_selected)
    first = next((n for n in found.neurons if run.stores(n.layer, n.neuron)), None)
    if first is None or (found.metric, found.total, len(found.neurons)) != expected:
        return None
    at = NeuronAt(first.layer, first.neuron)
    return cursor_of_row(run, Row(1, at, "", None, record.prompt_id, first.ctx_idx, None, None, ""), now)


def landing(opened: OpenedRun, options: Options) -> tuple[Cursor, Walk | None]:
    """Where the flags say, without a list; without such flags, the first stored neuron of `default_view`.

    Raises `UsageError` if the flags name something that the run does not have.
    """
    now = first_cursor(opened.run, options)
    if options.names_a_place or not opened.run.prompts:
        return now, None
    view = default_view(opened, described=False)
    walk = first_stored(view, opened.run) if view else None
    if walk is None:
        return now, None
    row = walk.row()
    cursor = cursor_of_row(opened.run, row, now)
    if cursor is None:
        try:
            with opened.run.another_reader() as reader:
                cursor = peak_of_row(reader, row, now)
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
