"""The scorer `generation`: does the neuron fire on sentences that were written from its explanation?

A language model writes sentences that should activate the neuron by the explanation, and others that should not. The
subject model reads them; the activation of a sentence is its largest one of the pole over the counted positions, as for
a window of the records. `auroc/generation` is the AUROC of the sentences that should against those that should not;
`mean_difference/generation` the difference of their mean activations, in units of the neuron's largest activation on
`explain`. Chance is .5 and 0. Intervals are over sentences, drawn within each kind.

Both are `too_few_examples` below `min_positives` sentences of either kind. Sentences that were written twice count
once, and a sentence of both kinds does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Interval
from neuron_signatures.scoring.outputs import writing
from neuron_signatures.scoring.outputs.asking import Replies, Reply, shown
from neuron_signatures.scoring.outputs.intervals import auroc_interval, difference_interval, random_of
from neuron_signatures.scoring.outputs.writing import Sentences, read_sentences, writing_requests
from neuron_signatures.scoring.scorer import TOO_FEW, Item, Measured, Scored
from neuron_signatures.scoring.scores import auroc
from neuron_signatures.scoring.tools import Tools

AUROC, DIFFERENCE = "auroc/generation", "mean_difference/generation"
NO_SCALE = "no_activation"
"""The neuron never has the sign of the pole on `explain`, so there is no unit."""


@dataclass(frozen=True)
class Sentence:
    """`should` says whether it should activate the neuron; `act` is in the units of the records."""

    text: str
    should: bool
    act: float


class GenerationScorer:
    name: Scorer = "generation"
    prompt_version: str | None = writing.VERSION
    controls: frozenset[Control] = frozenset({"own", "other", "shuffled", "empty", "text"})
    n_others = 0

    def __init__(self, tools: Tools) -> None:
        self._tools, self._subject = tools, tools.subject_model

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        replies = Replies(self._tools.session, item)
        found = await replies.ask(self.requests_of(item, texts), lambda text, _: read_sentences(text))
        written = labelled(found)
        peaks = await self._subject.use(lambda s: s.peaks(item.at, [text for text, _ in written])) if written else []
        pairs = zip(written, peaks, strict=True)
        sentences = [Sentence(text, should, peak.act) for (text, should), peak in pairs if peak is not None]
        own = item.control == "own"
        measures = measure(sentences, texts, self._tools.design, interval=own)
        return replies.scored(measures, [_example(s) for s in sentences] if own else [])

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[ChatRequest]:
        return writing_requests(item.said.text, self._tools.design.seed)

    def settings(self) -> dict[str, Any]:
        return {
            "n_requests": writing.N_REQUESTS, "n_sentences": writing.N_SENTENCES, "temperature": writing.TEMPERATURE,
        }  # fmt: skip


def labelled(replies: Sequence[Reply[Sentences]]) -> list[tuple[str, bool]]:
    """Each sentence once, with whether it should activate the neuron; those of both kinds are left out."""
    values = [reply.value for reply in replies if reply.value is not None]
    kinds: dict[str, set[bool]] = {}
    for value in values:
        for texts, should in ((value.active, True), (value.inactive, False)):
            for text in texts:
                kinds.setdefault(text.strip(), set()).add(should)
    return [(text, True in kind) for text, kind in kinds.items() if len(kind) == 1]


def measure(
    sentences: Sequence[Sentence], texts: NeuronTexts, design: Design, *, interval: bool
) -> dict[str, Measured]:
    """The two scores, with intervals if asked for."""
    active = [s.act for s in sentences if s.should]
    inactive = [s.act for s in sentences if not s.should]
    n, n_active = len(sentences), len(active)
    if min(n_active, len(inactive)) < max(1, design.min_positives):
        few = Measured(None, None, None, n, n_active, TOO_FEW)
        return {AUROC: few, DIFFERENCE: few}
    truth = np.array([True] * n_active + [False] * len(inactive))
    area = auroc(truth, np.array([*active, *inactive], np.float64))
    of_area = of_difference = NO_INTERVAL
    if interval:
        rows = range(n_active), range(len(inactive))
        of_area = auroc_interval(active, inactive, groups=rows, design=design, random=random_of(texts.at, design, 0))
        of_difference = difference_interval(active, inactive, design, random_of(texts.at, design, 1))
    found = {AUROC: Measured(area, *of_area, n, n_active)}
    if not texts.largest > 0:
        found[DIFFERENCE] = Measured(None, None, None, n, n_active, NO_SCALE)
        return found
    difference = float(np.mean(active) - np.mean(inactive)) / texts.largest
    found[DIFFERENCE] = Measured(difference, *_scaled(of_difference, texts.largest), n, n_active)
    return found


def _scaled(interval: Interval, unit: float) -> Interval:
    return Interval(*(None if end is None else end / unit for end in interval))


def _example(sentence: Sentence) -> dict[str, Any]:
    return {"text": shown(sentence.text), "should": sentence.should, "act": float(f"{sentence.act:.4g}")}
