"""The work of stage 5: explain the poles that a set does not have yet, and finish the set when it has all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neuron_signatures.explain.answers import RULE_VERSION, Author
from neuron_signatures.explain.by_rules import explain_by_rules
from neuron_signatures.explain.done import SetDone
from neuron_signatures.explain.outcome import Outcome, Tally
from neuron_signatures.explain.request import ExplainRequest
from neuron_signatures.explain.shards import begin_shard, merge_shards, poles_digest, poles_of_shard, shard_set
from neuron_signatures.explain.sources.source import Source
from neuron_signatures.explain.taking import Taking
from neuron_signatures.llm.pool import HOLD_SECONDS
from neuron_signatures.llm.spent import Spent
from neuron_signatures.runs.explanations.log import ExplanationLog
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS
from neuron_signatures.runs.explanations.stage import begin_set, finish_set, refuse_other_settings
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.meta import corpus_digest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.locks import refuse_running_shards
from neuron_signatures.runs.stopping import HeldStop, hold_stop
from neuron_signatures.scoring.poles import choose_poles, neighbours_in_list

if TYPE_CHECKING:
    from neuron_signatures.explain.by_model import Asking


@dataclass(frozen=True)
class Opened:
    """A request with its run: which poles of which set are explained."""

    request: ExplainRequest
    source: Source
    run: Run
    records: Records
    poles: tuple[NeuronPole, ...]
    neighbours: Mapping[NeuronPole, tuple[NeuronPole, ...]]
    """Of each pole the same pole of the neurons before and after in the ranked list; empty without a list."""

    @property
    def set_name(self) -> str:
        """Of the shard, if there is one."""
        r = self.request
        return r.set_name if r.shard is None else shard_set(r.set_name, r.shard)

    @property
    def author(self) -> Author:
        r = self.request
        kind, model = ("none", "none") if r.llm is None else (r.llm.kind, r.llm.model)
        return Author(self.set_name, r.method.explainer, kind, model)

    @cached_property
    def before(self) -> SetDone:
        r = self.request
        return SetDone(self.run.path, self.set_name, r.method, retry_failed=r.retry_failed)

    @cached_property
    def missing(self) -> list[NeuronPole]:
        """Poles of which something is missing."""
        return self.before.pending(self.poles)

    @property
    def pending(self) -> list[NeuronPole]:
        """The first of them, at most `--limit`; others follow for those that give nothing."""
        return self.missing[: self.request.limit]

    def settings(self) -> dict[str, Any]:
        """What a set is made by. The neurons are not among it: more can be added."""
        r = self.request
        found = {
            **r.method.settings(), "llm": self.author.client, "model": self.author.model,
            "corpus": corpus_digest(self.records.corpus.meta), "select_parts": list(self.source.select),
        }  # fmt: skip
        if self.neighbours and r.method.explainer == "contrastive":
            found["neighbours_in"] = r.neurons.named.from_list if r.neurons.named else None
        if r.shard is not None:
            found |= {"shard": str(r.shard), "poles": poles_digest(self.poles)}
        if r.llm is None:
            return found | {"prompt_version": RULE_VERSION}
        from neuron_signatures.explain.explainers.build import prompt_version

        return found | {"prompt_version": prompt_version(r.method.explainer)}


@contextlib.contextmanager
def opened(request: ExplainRequest, source: Source) -> Iterator[Opened]:
    """The request with the run of its source. Raises `UsageError` for neurons that cannot be explained."""
    with Run.open(source.run_dir) as run, Records.open(run) as records:
        poles = choose_poles(run, records, request.neurons)
        neighbours = neighbours_in_list(poles, request.neurons)
        if request.shard is not None:
            poles = poles_of_shard(poles, request.shard)
        yield Opened(request, source, run, records, tuple(poles), neighbours)


def explain_neurons(work: Opened, progress: ProgressOf) -> Outcome:
    """Explain what is missing, and finish the set if nothing is.

    A budget that ends leaves what is done, and is told in the outcome. Raises `StopSignal` after a signal.
    """
    run_dir, shard = work.run.path, work.request.shard
    if work.request.merge:
        return _merged(work)
    refuse_other_settings(run_dir, work.set_name, work.settings())
    if not work.pending and SETS.is_finished(run_dir, work.set_name):
        return _outcome(work, _tally(work), Spent())
    asking = _open_asking(work)
    with contextlib.ExitStack() as shard_held:
        with open_results(work.run, EXPLANATIONS, wait=shard is not None):
            work = replace(work)  # what another process did meanwhile
            if shard is not None:
                shard_held.enter_context(begin_shard(run_dir, work.request.set_name, shard))
                into = begin_set(work.run, work.set_name, work.settings())
            else:
                refuse_running_shards(run_dir, work.request.set_name)
                return _explained(work, begin_set(work.run, work.set_name, work.settings()), asking, progress)
        return _explained(work, into, asking, progress)


def _open_asking(work: Opened) -> Asking | None:
    """None if no language model is asked."""
    if work.request.llm is None or not work.pending:
        return None
    from neuron_signatures.explain.by_model import open_asking

    return open_asking(work)


def _explained(work: Opened, into: ExplanationLog, asking: Asking | None, progress: ProgressOf) -> Outcome:
    tally, spent, stopped = _tally(work), Spent(), ""
    poles = Taking(work.missing, work.request.limit)
    with into:
        if work.missing:
            with hold_stop(HOLD_SECONDS) as stop:
                spent, stopped = _explain(work, poles, into, asking, tally, progress, stop)
    if not stopped and poles.all_taken:
        with contextlib.nullcontext() if work.request.shard is None else run_lock(work.run.path, wait=True):
            finish_set(
                work.run, work.set_name, skipped=_left_out(work, tally), spent=spent,
                flags_given=list(work.request.flags_given),
            )  # fmt: skip
    return _outcome(work, tally, spent, stopped)


def _explain(
    work: Opened, poles: Taking, into: ExplanationLog, asking: Asking | None, tally: Tally, progress: ProgressOf,
    stop: HeldStop,
) -> tuple[Spent, str]:  # fmt: skip
    """What was spent, and why it ended early (empty if it did not)."""
    with progress("poles", len(work.pending)) as bar:
        if work.request.llm is None:
            explain_by_rules(poles, work.records, work.author, into, tally, bar, stop)
            return Spent(), ""
        assert asking is not None, "poles are missing that were not before the lock was held"
        from neuron_signatures.explain.by_model import explain_by_model

        return explain_by_model(work, poles, asking, into, tally, bar, stop)


def _left_out(work: Opened, tally: Tally) -> dict[str, list[str]]:
    """Of the whole set: also poles that an earlier command left out."""
    before = work.before.left_out
    return {
        reason: list(dict.fromkeys([*before.get(reason, ()), *tally.left_out.get(reason, ())]))
        for reason in [*before, *(r for r in tally.left_out if r not in before)]
    }


def _tally(work: Opened) -> Tally:
    asked = {at.label for at in work.poles}
    left_out = {reason: [n for n in names if n in asked] for reason, names in work.before.left_out.items()}
    return Tally(
        n_poles=len(work.poles), n_done_before=len(work.poles) - len(work.missing),
        n_locked=work.before.locked(work.poles),
        left_out={reason: names for reason, names in left_out.items() if names},
    )  # fmt: skip


def _merged(work: Opened) -> Outcome:
    merge_shards(work.run, work.request.set_name, work.settings(), work.poles)
    work = replace(work)
    return _outcome(work, _tally(work), Spent())


def _outcome(work: Opened, tally: Tally, spent: Spent, stopped: str = "") -> Outcome:
    from neuron_signatures.explain.done import statuses_of_set

    return Outcome(
        work.run.path, work.set_name, tally, spent, statuses_of_set(work.run.path, work.set_name),
        SETS.is_finished(work.run.path, work.set_name), stopped,
    )  # fmt: skip
