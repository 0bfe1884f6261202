"""Which sets of explanations are scored, and whether they go with the records of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.meta import read_settings
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET, SETS
from neuron_signatures.runs.records.meta import corpus_digest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.stage.set_texts import SetTexts


@dataclass(frozen=True)
class ChosenSets:
    """`warnings` are one line each."""

    texts: tuple[SetTexts, ...]
    warnings: tuple[str, ...]


def chosen_sets(
    run: Run, records: Records, wanted: Sequence[str] | None, poles: Sequence[NeuronPole]
) -> ChosenSets:  # fmt: skip
    """The sets that are named; None: all that are finished and explain one of the poles.

    Raises `UsageError` for a set that is not there, has no explanation of these poles, or was made from another corpus
    than the records; its explanations may have been made from texts that would be scored on.
    """
    there = SETS.names(run.path)
    if not there:
        next_step = f"Make some: poc5_explain_neurons --run_dir {run.path}"
        raise UsageError("the run has no explanations", where=str(run.path), next_step=next_step)
    warnings: list[str] = []
    names = list(dict.fromkeys(wanted)) if wanted is not None else [n for n in there if _finished(run, n)]
    for name in there if wanted is None else ():
        if name not in names:
            warnings.append(f"the set {name} is not finished and is left out; name it with --sets to score what it has")
    texts = []
    for name in names:
        if name not in there:
            raise UsageError(f"there is no set {name!r} (there are {', '.join(there[:10])})", where="--sets")
        _refuse_other_corpus(run, records, name)
        if wanted is not None and not _finished(run, name):
            warnings.append(f"the set {name} is not finished: what it gets later is scored by the same command")
        one = SetTexts(run.path, name)
        if any(at in one.current for at in poles):
            texts.append(one)
            continue
        if wanted is not None:
            raise UsageError(
                f"the set {name} has no explanation with the status ok of these neurons",
                where=str(run.path / EXPLANATIONS), next_step="Choose other neurons or another set",
            )  # fmt: skip
        warnings.append(f"the set {name} has no explanation of these neurons and is left out")
    if not texts:
        raise UsageError("no finished set explains these neurons", where=str(run.path), next_step="; ".join(warnings))
    return ChosenSets(tuple(texts), tuple(warnings))


def _finished(run: Run, name: str) -> bool:
    """The set of what people write is never closed."""
    return name == HUMAN_SET or SETS.is_finished(run.path, name)


def _refuse_other_corpus(run: Run, records: Records, name: str) -> None:
    settings = read_settings(run.path, name)
    made_from = None if settings is None else settings.settings.get("corpus")
    if made_from is not None and made_from != corpus_digest(records.corpus.meta):
        what = f"the set {name} was made from another corpus, or another split of it, than the records"
        next_step = "Explain again as another set: scores need texts that no explanation was made from"
        raise UsageError(what, where=str(run.path), next_step=next_step)
