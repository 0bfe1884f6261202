"""Opening a run for the browser, in a thread: the session, where to begin, or the fault that is shown instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.tui.cursor import Place, first_place, keep_inside
from neuron_signatures.tui.opened_run import Session, fault_text
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.tables.tokens import token_view


@dataclass(frozen=True)
class Opened:
    """A run folder that was looked at. Without a session `fault` says why."""

    run_dir: Path
    session: Session | None
    place: Place | None
    fault: str = ""


def open_run(run_dir: Path, options: Options, place: Place | None) -> Opened:
    """Open it at `place` or where the flags say, and read the first values.

    Raises `UsageError` if the flags name what the run does not have.
    """
    try:
        session = Session.open(run_dir)
    except (BadRunError, OSError) as e:
        return Opened(run_dir, None, None, fault_text(e))
    where = first_place(session.run, options) if place is None else keep_inside(session.run, place)
    token_view(session, where, include_bos=options.include_bos)
    return Opened(run_dir, session, where)
