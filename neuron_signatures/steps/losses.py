"""What a pipeline would remove, and which of it only with `--overwrite` or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.index import set_names
from neuron_signatures.runs.explanations.lines import read_entries
from neuron_signatures.runs.explanations.meta import read_settings
from neuron_signatures.runs.explanations.stage import remove_set
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.llm.ledger import read_ledger
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.names import STAGE_FOLDERS
from neuron_signatures.steps.plan import Planned
from neuron_signatures.steps.stages import explanation_set


def refuse_losses(planned: Sequence[Planned], run_dir: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if a step would replace what was not given up by `--overwrite`, or cannot be made again."""
    for p in planned:
        if p.action != "replace":
            continue
        if p.step.stage.replaces == "set":
            _refuse_lost_work(p, run_dir)
        if not overwrite:
            what = f"{p.step.name} cannot keep what is there ({p.why}); lost would be {_loss(p, run_dir)}"
            if p.step.stage.replaces == "set":
                next_step = "Give the step another name with set, or --overwrite"
            else:
                next_step = "Give another run_dir, or --overwrite to replace it"
            raise UsageError(what, where=str(run_dir), next_step=next_step)


def remove_replaced_set(p: Planned, run_dir: Path) -> None:
    """Remove the set that a step replaces. Raises `RunLockedError` if another process writes to the run."""
    with run_lock(run_dir):
        _refuse_lost_work(p, run_dir)
        remove_set(run_dir, explanation_set(p.step.settings))


def _refuse_lost_work(p: Planned, run_dir: Path) -> None:
    """Explanations of a language model and what people wrote are never removed by a step."""
    name = explanation_set(p.step.settings)
    settings = read_settings(run_dir, name)
    paid = settings is not None and settings.settings.get("llm", "none") != "none"
    n_people = _by_people(run_dir, name)
    if not paid and not n_people:
        return
    why = "a language model wrote it" if paid else f"it has {n_people} edits, votes and notes of people"
    what = f"{p.step.name} cannot continue the set {name} ({p.why}), and does not remove it: {why}"
    raise UsageError(what, where=str(run_dir), next_step="Give the step another name with set")


def _loss(p: Planned, run_dir: Path) -> str:
    if p.step.stage.replaces == "set":
        return f"the set {explanation_set(p.step.settings)} (look-up rules, which cost nothing)"
    if p.step.stage.replaces == "records":
        return "the records, the corpus and the activations of chosen neurons"
    folders = [name for name in STAGE_FOLDERS if (run_dir / name).is_dir()]
    lost = ["the run", *([f"with {', '.join(folders)}"] if folders else [])]
    try:
        names = set_names(run_dir)
        n_people = sum(_by_people(run_dir, name) for name in names)
        cost = sum(a.most_cost for a in read_ledger(RequestFiles(run_dir)).stages.values())
    except BadRunError as e:
        return f"{' '.join(lost)} ({e.what})"
    lost += [f", {counted(len(names), 'set')} of explanations"] if names else []
    lost += [f", {n_people} edits, votes and notes of people"] if n_people else []
    lost += [f", requests for ${cost:.2f}"] if cost else []
    return " ".join(lost).replace(" ,", ",")


def _by_people(run_dir: Path, set_name: str) -> int:
    """Edits, votes, locks and notes in the log of a set."""
    if set_name not in set_names(run_dir):
        return 0
    return sum(entry.author == "human" for entry in read_entries(run_dir, set_name))
