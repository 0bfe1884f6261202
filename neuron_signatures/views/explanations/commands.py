"""Commands that make explanations, and those with which people edit them, for viewers to show."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.views.records.commands import has_records, records_command

if TYPE_CHECKING:  # takes time to import, and lists of commands are needed at the start
    from neuron_signatures.views.explanations.shown import ExplanationView

_STAGE = ("python", "-m", "neuron_signatures.poc5_explain_neurons")


def explain_command(run_dir: Path, *flags: str) -> str:
    """Makes explanations; without flags, of the recorded neurons by rules, which needs no language model."""
    return shlex.join([*_STAGE, "--run_dir", str(run_dir), *(flags or ("--llm", "none", "--explainer", "lookup"))])


class PersonCommand(NamedTuple):
    """What a person can do with an explanation."""

    label: str
    command: str


def people_commands(run_dir: Path, view: ExplanationView) -> list[PersonCommand]:
    """The first one edits it."""
    lock = "lock" if view.locked_by is None else "unlock"
    verbs = (("edit", "--text", "TEXT"), ("vote", "--up"), (lock,), ("note", "--text", "TEXT"))
    return [
        PersonCommand(verb, shlex.join([*_STAGE, verb, "--run_dir", str(run_dir), "--id", view.entry.id, *more]))
        for verb, *more in verbs
    ]


def nothing_text(run_dir: Path) -> str:
    """What to run where there are no explanations: first what makes the records that they are written from."""
    if not has_records(run_dir):
        return f"no explanations yet: they are written from records, which this makes: {records_command(run_dir)}"
    return f"no explanations yet; this command makes some: {explain_command(run_dir)}"
