"""What a pipeline would remove, and which of it only with `--overwrite` or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.lines import read_entries
from neuron_signatures.runs.explanations.meta import read_settings
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.explanations.stage import remove_set
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.llm.ledger import read_ledger
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.names import STAGE_FOLDERS
from neuron_signatures.runs.scores.meta import ScoreSettings
from neuron_signatures.runs.scores.stage import remove_scores
from neuron_signatures.steps.plan import Planned
from neuron_signatures.steps.scored import all_scores, asked_a_model, scores_of
from neuron_signatures.steps.stages import explanation_set

_ANOTHER_NAME = {"set": "Give the step another name with set", "scores": "Give the step a name of its own with label"}


def refuse_losses(planned: Sequence[Planned], run_dir: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if a step would replace what was not given up by `--overwrite`, or cannot be made again."""
    replaced = [p for p in planned if p.action == "replace"]
    for p in replaced:
        _refuse_lost_work(p, run_dir)
    if replaced and not overwrite:
        first = replaced[0]
        what = f"{first.step.name} cannot keep what is there ({first.why}); lost would be {_losses(replaced, run_dir)}"
        other = _ANOTHER_NAME.get(first.step.stage.replaces, "Give another run_dir")
        raise UsageError(what, where=str(run_dir), next_step=f"{other}, or --overwrite to replace it")


def remove_replaced(p: Planned, run_dir: Path) -> None:
    """Remove the set or the scores that a step replaces; other stages replace their results themselves.

    Raises `RunLockedError` if another process writes to the run.
    """
    if p.step.stage.replaces not in _ANOTHER_NAME:
        return
    with run_lock(run_dir):
        _refuse_lost_work(p, run_dir)
        for about in _removed_scores(p, run_dir):
            remove_scores(run_dir, about.name)
        if p.step.stage.replaces == "set":
            remove_set(run_dir, explanation_set(p.step.settings))


def _refuse_lost_work(p: Planned, run_dir: Path) -> None:
    """What a language model was asked for and what people wrote is never removed by a step of its own."""
    if p.step.stage.replaces not in _ANOTHER_NAME:
        return
    what = " and ".join(_named(p, run_dir)) or "its scores"
    why = _cannot_be_made_again(p, run_dir)
    if why:
        text = f"{p.step.name} cannot continue {what} ({p.why}), and does not remove them: {why}"
        raise UsageError(text, where=str(run_dir), next_step=_ANOTHER_NAME[p.step.stage.replaces])


def _cannot_be_made_again(p: Planned, run_dir: Path) -> str:
    """Why not; empty if it can."""
    if p.step.stage.replaces == "set":
        name = explanation_set(p.step.settings)
        settings = read_settings(run_dir, name)
        if settings is not None and settings.settings.get("llm", "none") != "none":
            return "a language model wrote it"
        if n := _by_people(run_dir, name):
            return f"it has {n} edits, votes and notes of people"
    asked = [about.name for about in _removed_scores(p, run_dir) if asked_a_model(about)]
    return f"a language model was asked for the scores {asked[0]}" if asked else ""


def _removed_scores(p: Planned, run_dir: Path) -> list[ScoreSettings]:
    """Those that a step replaces, or all of a set that is removed."""
    if p.step.stage.replaces == "scores":
        return scores_of(p.step.settings, run_dir)
    return [about for about in all_scores(run_dir) if about.set == explanation_set(p.step.settings)]


def _named(p: Planned, run_dir: Path) -> list[str]:
    """The set and the scores that a step replaces."""
    sets = [f"the set {explanation_set(p.step.settings)}"] if p.step.stage.replaces == "set" else []
    return [*sets, *_names_of(_removed_scores(p, run_dir))]


def _names_of(scores: Sequence[ScoreSettings]) -> list[str]:
    names = list(dict.fromkeys(about.name for about in scores))
    return [f"the scores {join_some(names, 3)}"] if names else []


def _losses(replaced: Sequence[Planned], run_dir: Path) -> str:
    """Of all steps. Sets are look-up rules: others are not removed."""
    lost = [_loss(p, run_dir) for p in replaced if p.step.stage.replaces not in _ANOTHER_NAME]
    sets = [explanation_set(p.step.settings) for p in replaced if p.step.stage.replaces == "set"]
    lost += [f"the set {name} (look-up rules, which cost nothing)" for name in sets]
    named = [p for p in replaced if p.step.stage.replaces in _ANOTHER_NAME]
    return ", ".join(lost + _names_of([about for p in named for about in _removed_scores(p, run_dir)]))


def _loss(p: Planned, run_dir: Path) -> str:
    if p.step.stage.replaces == "skills":
        return "what was collected of texts and units"
    if p.step.stage.replaces == "records":
        return "the records, the corpus and the activations of chosen neurons"
    folders = [name for name in STAGE_FOLDERS if (run_dir / name).is_dir()]
    lost = ["the run", *([f"with {', '.join(folders)}"] if folders else [])]
    try:
        names = SETS.names(run_dir)
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
    if set_name not in SETS.names(run_dir):
        return 0
    return sum(entry.author == "human" for entry in read_entries(run_dir, set_name))
