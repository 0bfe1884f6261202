"""One set of explanations and one scorer: what is missing in the log, and scoring it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from neuron_signatures.llm.asking.accounts import ANSWERED
from neuron_signatures.runs.records.meta import corpus_digest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.line import LineKey
from neuron_signatures.runs.scores.lines import open_scores, read_line
from neuron_signatures.runs.scores.log import ScoreLog
from neuron_signatures.runs.scores.meta import About
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.scorer import ItemScorer
from neuron_signatures.scoring.stage.lines import failed_line, line_of
from neuron_signatures.scoring.stage.plan import Plan, Planned
from neuron_signatures.scoring.stage.set_texts import Failed, SetTexts


@dataclass(frozen=True)
class Missing:
    """What a pole lacks: items, or the line of an explanation that failed."""

    at: NeuronPole
    items: tuple[Planned, ...]
    failed: Failed | None = None


@dataclass
class Tally:
    """Counts of one process, which grow as it works."""

    n_poles: int = 0
    """Poles of the set that were asked for."""
    n_done_before: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """Of the items scored now, by control or not."""
    n_failed_requests: int = 0


class ScoredLog:
    """The scores of one scorer on one set, which may be begun."""

    def __init__(
        self, run_dir: Path, records: Records, about: About, texts: SetTexts, scorer: ItemScorer, design: Design,
        poles: tuple[NeuronPole, ...], *, controls: frozenset[str], retry_failed: bool,
    ) -> None:  # fmt: skip
        self.about, self.scorer, self.poles = about, scorer, poles
        self._run_dir, self._records, self._texts, self._design = run_dir, records, texts, design
        self._controls, self._retry_failed = controls | {"own"}, retry_failed
        self.tally = Tally(n_poles=len(poles))

    @cached_property
    def plan(self) -> Plan:
        return Plan(
            self._texts, controls=self._controls & self.scorer.controls, n_null=self._design.n_null,
            n_others=self.scorer.n_others, seed=self._design.seed,
        )  # fmt: skip

    def missing(self) -> list[Missing]:
        """By pole, in their order; what the log has now."""
        index = ScoreIndex(self._run_dir, self.about.name)
        if index.path.exists():
            index.read_more()
        found = [self._missing_of(at, index) for at in self.poles]
        missing = [one for one in found if one.items or one.failed]
        self.tally.n_done_before = len(self.poles) - len(missing)
        return missing

    def _missing_of(self, at: NeuronPole, index: ScoreIndex) -> Missing:
        failed = self._texts.failed(at)
        if failed is not None:
            done = LineKey(failed.id, at, "own") in index
            return Missing(at, (), None if done else failed)
        drawn = [key.explanation for key in index.of_control(at, "other")]
        items = [one for one in self.plan.items(at, drawn) if not self._done(one.key, index)]
        if self._retry_failed:
            again = [key for key in index.of_control(at, "other") if not self._done(key, index)]
            items += [one for one in self.plan.drawn(at, again) if one not in items]
        return Missing(at, tuple(items))

    def _done(self, key: LineKey, index: ScoreIndex) -> bool:
        line = index.get(key)
        return line is not None and not (self._retry_failed and line.n_ok < line.n_requests)

    def jobs(self, missing: list[Missing], log: ScoreLog) -> Iterator[Job]:
        """Items, pole by pole. Lines of failed explanations are appended when their pole's turn comes."""
        index = ScoreIndex(self._run_dir, self.about.name)
        index.read_more()
        texts = _Recent(lambda at: neuron_texts(self._records, at, self._design))
        for one in missing:
            if one.failed is not None:
                log.append(failed_line(one.at, one.failed))
                self.tally.statuses[one.failed.status] += 1
            for planned in one.items:
                yield Job(planned, texts(one.at), _again(planned.key, index))

    async def score(self, job: Job, log: ScoreLog) -> None:
        """Score an item and store its line. Raises `StopAsking`; then nothing is stored."""
        item = self.plan.item(job.planned, job.again)
        scored = await self.scorer.score(item, job.texts)
        log.append(line_of(job.planned, scored, prompt_version=self.scorer.prompt_version))
        self.tally.statuses[scored.status] += 1
        self.tally.n_failed_requests += sum(status != "ok" for status in scored.statuses)

    def texts_of(self, at: NeuronPole) -> NeuronTexts:
        return neuron_texts(self._records, at, self._design)


@dataclass(frozen=True, eq=False)
class Job:
    """An item with the windows of its pole. `again` is as in `Item`."""

    planned: Planned
    texts: NeuronTexts
    again: frozenset[int]


class _Recent:
    """The windows of the last poles, since several items of a pole are scored at a time."""

    def __init__(self, make: Callable[[NeuronPole], NeuronTexts], n: int = 4) -> None:
        self._make, self._n = make, n
        self._held: OrderedDict[NeuronPole, NeuronTexts] = OrderedDict()

    def __call__(self, at: NeuronPole) -> NeuronTexts:
        if at not in self._held:
            self._held[at] = self._make(at)
            if len(self._held) > self._n:
                self._held.popitem(last=False)
        return self._held[at]


def settings_of(records: Records, design: Design, scorer: ItemScorer, llm: str) -> dict[str, Any]:
    """What continued scores must share. The neurons and the controls are not among it: more can be added."""
    own = {"prompt_version": scorer.prompt_version, "llm": llm}
    return {**design.settings(), **scorer.settings(), **own, **_windows_of(records)}


def _windows_of(records: Records) -> dict[str, Any]:
    """What decides the windows and activations that scores are measured on: records made in another way have others."""
    sample = records.sample_meta
    return {
        "corpus": corpus_digest(records.corpus.meta), "top_records": records.meta.top_k,
        "sample_windows": None if sample is None else sample.n_windows,
        "sample_seed": None if sample is None else sample.sample_seed,
        "weights_fingerprint": records.meta.weights_fingerprint, "model_revision": records.meta.model_revision,
    }  # fmt: skip


def _again(key: LineKey, index: ScoreIndex) -> frozenset[int]:
    """The numbers of the requests of the item that failed before with an answer of the model."""
    if key not in index:
        return frozenset()
    with open_scores(index.path) as file:
        before = read_line(file, index.path, index.kept(key)).requests
    return frozenset(i for i, status in enumerate(before) if status in ANSWERED and status != "ok")
