"""What people add to the log of explanations: edits, votes, locks and notes.

Each function takes the run's lock, checks the rules, appends one line and releases the lock. Names of authors are not
verified: they say who did it, and whoever can write to the run can give any.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.runs.errors import RunLockedError, UsageError
from neuron_signatures.runs.explanations.entry import MAX_NAME, MAX_TEXT, Entry
from neuron_signatures.runs.explanations.log import ExplanationLog, check_set_name
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET, SETS, Kind
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.locks import running_shards
from neuron_signatures.runs.tokens import brief, encodable
from neuron_signatures.runs.versions import now_utc

Target = str | NeuronPole
"""An id, or a pole of a neuron: then its current explanation, which must be the only one (in the set, if given)."""


def edit(
    run_dir: Path, target: Target, text: str, author: str, *, set_name: str | None = None,
    reader: Explanations | None = None,
) -> Entry:  # fmt: skip
    """Replace an explanation by a text of a person, or write the first one of a neuron.

    Without an explanation of that pole, the text goes to the set `human`, or to `set_name`. A `reader` of all sets that
    is open already saves reading them again; it is refreshed. Returns the entry that was appended.

    Raises `UsageError` for an unknown target, an empty text, or an explanation that another person has locked, and
    `RunLockedError` if another process writes to the run.
    """
    text = _checked_text(text, "explanation")
    with _writing(run_dir, author, reader) as (who, explanations):
        found = _find_to_edit(explanations, target, set_name)
        if found is None:
            assert isinstance(target, NeuronPole)
            set_name = set_name or HUMAN_SET
            _check_neuron(run_dir, target)
            _check_set(run_dir, set_name)
            return _append(run_dir, set_name, target, who, text=text)
        if found.locked_by not in (None, who):
            raise _locked(found, "edit")
        at = {"parent": found.id, "mode": found.entry.mode, "mode_share": found.entry.mode_share}
        return _append(run_dir, found.set, found.at, who, text=text, **at)


def vote(
    run_dir: Path, target: Target, value: Literal[1, -1, 0], author: str, *, set_name: str | None = None,
    reader: Explanations | None = None,
) -> Entry:  # fmt: skip
    """Vote for (1) or against (-1) an explanation, or withdraw the vote (0). The newest vote of an author counts."""
    with _writing(run_dir, author, reader) as (who, explanations):
        found = _find(explanations, target, set_name)
        return _about(run_dir, found, "vote", who, value=value)


def lock(
    run_dir: Path, target: Target, author: str, *, set_name: str | None = None, reader: Explanations | None = None
) -> Entry:
    """Lock an explanation: it stays the current one of its pole until its author unlocks it.

    Raises `UsageError` if it, or another explanation of the same pole (and mode) in the set, is locked already.
    """
    with _writing(run_dir, author, reader) as (who, explanations):
        found = _find(explanations, target, set_name)
        if found.entry.status != "ok":
            what = f"{found.id} is no explanation: its request ended as {found.entry.status}"
            raise UsageError(what, where=found.at.label)
        beside = explanations.current(found.at, found.set)
        holder = next((s for s in beside if s.locked and s.entry.mode == found.entry.mode), None)
        if holder is not None:
            raise _locked(holder, "unlock")
        return _about(run_dir, found, "lock", who, value=1)


def unlock(
    run_dir: Path, target: Target, author: str, *, set_name: str | None = None, reader: Explanations | None = None
) -> Entry:
    """End a lock. Raises `UsageError` if the explanation is not locked, or another person locked it."""
    with _writing(run_dir, author, reader) as (who, explanations):
        found = _find(explanations, target, set_name)
        if found.locked_by is None:
            raise UsageError(f"{found.id} is not locked", where=found.at.label)
        if found.locked_by != who:
            raise _locked(found, "unlock")
        return _about(run_dir, found, "lock", who, value=0)


def note(
    run_dir: Path, target: Target, text: str, author: str, *, set_name: str | None = None,
    reader: Explanations | None = None,
) -> Entry:  # fmt: skip
    """Add a note to an explanation."""
    text = _checked_text(text, "note")
    with _writing(run_dir, author, reader) as (who, explanations):
        return _about(run_dir, _find(explanations, target, set_name), "note", who, text=text)


def check_author(name: str) -> str:
    """The name without spaces around it. Raises `UsageError` if it is empty, too long or not printable."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        what = f"the author's name {brief(name)!r} is not 1 to {MAX_NAME} printable characters"
        raise UsageError(what, next_step="Give one with --author")
    return name


@contextmanager
def _writing(run_dir: Path, author: str, reader: Explanations | None) -> Iterator[tuple[str, Explanations]]:
    who = check_author(author)
    if not Run.is_complete(run_dir):
        raise UsageError("there is no finished run", where=str(run_dir), next_step="Give a run folder")
    try:
        with run_lock(run_dir):
            if reader is None:
                reader = Explanations.open(run_dir)
            else:
                reader.refresh()
            yield who, reader
            reader.refresh()
    except RunLockedError as e:
        raise RunLockedError(e.what, where=e.where, next_step="Nothing was added; try again when it is done") from e


def _find(explanations: Explanations, target: Target, set_name: str | None) -> Shown:
    """The explanation that is meant. Raises `UsageError` if there is none or more than one."""
    where = str(explanations.path)
    if isinstance(target, str):
        found = explanations.get(target)
        if found is None:
            raise UsageError(f"no explanation has the id {brief(target)}", where=where)
        if set_name not in (None, found.set):
            raise UsageError(f"{target} is of set {found.set}, not {brief(set_name or '')}", where=where)
        return found
    current = _current(explanations, target, set_name)
    if len(current) == 1:
        return current[0]
    of = f" in set {brief(set_name)}" if set_name else ""
    if not current:
        raise UsageError(f"{target.label} has no explanation{of}", where=where)
    some = ", ".join(f"{s.id} ({s.set})" for s in current[:4])
    what = f"{target.label} has {len(current)} explanations{of}: {some}"
    raise UsageError(what, where=where, next_step="Give the --id or the --set of one")


def _find_to_edit(explanations: Explanations, target: Target, set_name: str | None) -> Shown | None:
    """As `_find`; None for a pole without an explanation. A failed request of the named set can be edited too."""
    if isinstance(target, str) or _current(explanations, target, set_name):
        return _find(explanations, target, set_name)
    if set_name is None:
        return None
    failed = [s for s in explanations.of(*target) if s.set == set_name and not s.replaced]
    return failed[0] if failed else None


def _current(explanations: Explanations, at: NeuronPole, set_name: str | None) -> list[Shown]:
    names = [s for s in explanations.set_names if set_name in (None, s)]
    return [shown for name in names for shown in explanations.current(at, name)]


def _check_neuron(run_dir: Path, at: NeuronPole) -> None:
    with Run.open(run_dir) as run:
        if not run.stores(at.layer, at.neuron):
            layers = spans(run.layers, between=",")
            what = f"the run has no neuron L{at.layer}N{at.neuron}"
            next_step = f"It has layers {layers} and neurons 0..{run.manifest.d_mlp - 1}"
            raise UsageError(what, where=str(run_dir), next_step=next_step)


def _check_set(run_dir: Path, name: str) -> None:
    """Only the set `human` comes into being by what a person writes."""
    check_set_name(name)
    if name != HUMAN_SET and name not in SETS.names(run_dir):
        next_step = f"Leave --set away to write to the set {HUMAN_SET}"
        raise UsageError(f"there is no set {name!r}", where=str(run_dir / EXPLANATIONS), next_step=next_step)


def _checked_text(text: str, what: str) -> str:
    text = encodable(text.strip())
    if not text:
        raise UsageError(f"the text of the {what} is empty")
    if len(text) > MAX_TEXT:
        raise UsageError(f"the text of the {what} has {len(text)} characters; {MAX_TEXT} are allowed")
    return text


def _about(run_dir: Path, shown: Shown, kind: Kind, who: str, **values: Any) -> Entry:
    return _append(run_dir, shown.set, shown.at, who, kind=kind, about=shown.id, **values)


def _append(run_dir: Path, set_name: str, at: NeuronPole, who: str, **values: Any) -> Entry:
    if (holder := running_shards(run_dir).get(set_name)) is not None:
        raise RunLockedError(f"another process writes this set: {holder}", where=str(run_dir))
    with ExplanationLog(run_dir, set_name) as log:
        fields = {"text": "", **at._asdict(), **values}
        entry = Entry(
            id=log.new_id(), set=set_name, explainer="human", status="ok", author="human", author_name=who,
            created_at_utc=now_utc(), **fields,
        )  # fmt: skip
        log.append(entry)
    return entry


def _locked(shown: Shown, verb: str) -> UsageError:
    who = brief(shown.locked_by or "")
    return UsageError(f"{shown.id} is locked by {who}, so only {who} can {verb} it", where=shown.at.label)
