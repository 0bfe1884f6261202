"""The scorer `intervention`: does the output change as the explanation says when the neuron is changed?

A judge sees what an edit of the neuron changes and three descriptions, the scored one and those of two other neurons of
the layer, and picks one. A score is the share of the judgements that pick the scored one; chance is 1/3. The six
judgements of a score have the six orders of the descriptions, so a judge that always picks the same place gets exactly
1/3, and each has texts of its own. Intervals are Wilson's, over the judgements, which share a neuron and are not
independent of each other.

- `choice/steered`: on neutral texts, `STEER_DOSE` times its largest activation on `explain` is added to the neuron.
- `choice/ablated`: on the strongest windows of the split, cut behind the peak, the neuron is set to its mean on
  `explain`. The texts and their continuations are not shown, but the tokens that change still tell of their topic,
  which an explanation of the input names too. What that alone is worth is
- `choice/random`: the same texts with another neuron of the layer, drawn at random, set to its mean; for the own
  explanation only. Read `choice/ablated` against it.

Edits are those of stage 3 at every position but the first, that of new tokens included. Undefined are
`no_windows` (no strongest window of the pole in the split), `no_others` (fewer than two other explanations), and
`too_few_examples` (fewer valid judgements than `min_positives`, or than there are).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuron_signatures.interventions.side_effects.neutral import load_neutral
from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Interval
from neuron_signatures.scoring.outputs import choosing
from neuron_signatures.scoring.outputs.asking import Replies, Reply
from neuron_signatures.scoring.outputs.changes_shown import Changes, example_changes, measure_changes
from neuron_signatures.scoring.outputs.choosing import N_JUDGEMENTS, Mode, choosing_request, orders_of, read_choice
from neuron_signatures.scoring.outputs.intervals import random_of
from neuron_signatures.scoring.scorer import TOO_FEW, Item, Measured, Scored
from neuron_signatures.scoring.texts import SIGN, strongest_texts
from neuron_signatures.scoring.tools import Tools
from neuron_signatures.stats.proportions import wilson

if TYPE_CHECKING:
    from neuron_signatures.scoring.outputs.loaded import LoadedSubject

STEER_DOSE: Final = 4.0
"""Times the largest activation on `explain`."""
N_TEXTS: Final = 2
"""Per judgement, if there are enough."""
NO_WINDOWS, NO_OTHERS = "no_windows", "no_others"
_KEPT: Final = 256
_Z: Final = 1.96

Evidence = dict[Mode, list[Changes]]
"""One per judgement; none where there are no texts."""


class InterventionScorer:
    name: Scorer = "intervention"
    prompt_version: str | None = choosing.VERSION
    controls: frozenset[Control] = frozenset({"own", "other", "shuffled"})
    n_others = choosing.N_DESCRIPTIONS - 1

    def __init__(self, tools: Tools) -> None:
        self._tools, self._subject = tools, tools.subject_model
        self._neutral = load_neutral(None)
        self._kept: dict[NeuronPole, Evidence] = {}

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        replies = Replies(self._tools.session, item)
        if len(item.others) < self.n_others:
            return replies.scored({_name(mode): _undefined(NO_OTHERS) for mode in _modes(item)}, [])
        evidence = await self._subject.use(lambda subject: self._evidence(subject, texts))
        asked = [(mode, i) for mode in _modes(item) for i in range(len(evidence[mode]))]
        requests = self._requests(item, {mode: evidence[mode] for mode in _modes(item)})
        found = await replies.ask(requests, lambda text, _: read_choice(text))
        orders = self._orders(item)
        picks = {mode: [_picked(r, orders[i]) for (m, i), r in zip(asked, found, strict=True) if m == mode]
                 for mode in _modes(item)}  # fmt: skip
        own = item.control == "own"
        measures = {_name(mode): self._measure(picks[mode], interval=own) for mode in _modes(item)}
        examples = [
            _example(mode, evidence[mode][i], [("", item.said.text), *((id_, s.text) for id_, s in item.others)],
                     orders[i], _picked(reply, orders[i]), reply)
            for (mode, i), reply in zip(asked, found, strict=True)
        ]  # fmt: skip
        return replies.scored(measures, examples if own else [])

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[ChatRequest]:
        """For forecasts: as many and about as long as those of `score`, whose evidence only the model can give."""
        if len(item.others) < self.n_others:
            return []
        return self._requests(item, {mode: [example_changes()] * N_JUDGEMENTS for mode in _modes(item)})

    def settings(self) -> dict[str, Any]:
        return {
            "steer_dose": STEER_DOSE, "n_texts": N_TEXTS, "n_judgements": N_JUDGEMENTS,
            "neutral": self._neutral.sha256,
        }  # fmt: skip

    def _requests(self, item: Item, evidence: Evidence) -> list[ChatRequest]:
        descriptions, orders = [item.said.text, *(said.text for _, said in item.others)], self._orders(item)
        return [
            choosing_request(mode, changes, [descriptions[k] for k in orders[i]], self._tools.design.seed)
            for mode, some in evidence.items()
            for i, changes in enumerate(some)
        ]

    def _orders(self, item: Item) -> list[tuple[int, ...]]:
        return orders_of(random_of(item.at, self._tools.design, 10))

    def _evidence(self, subject: LoadedSubject, texts: NeuronTexts) -> Evidence:
        """Measured once for all explanations that are tried on a neuron."""
        if texts.at not in self._kept:
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[texts.at] = self._measured(subject, texts)
        return self._kept[texts.at]

    def _measured(self, subject: LoadedSubject, texts: NeuronTexts) -> Evidence:
        from neuron_signatures.scoring.outputs.copies import CopyEdit

        at, random = texts.at, random_of(texts.at, self._tools.design, 11)
        open_ended = [p.text for p in self._neutral.prompts if p.continuation is None]
        neutral = subject.encode([open_ended[i] for i in random.permutation(len(open_ended))])
        split = self._tools.design.split
        strongest = strongest_texts(self._tools.records, at, parts=(split,), k=N_JUDGEMENTS * N_TEXTS)
        prefixes = [list(text.token_ids[: text.peak_pos + 1]) for text in strongest]
        means = self._tools.records.layer_moments(at.layer, parts=("explain",)).mean
        another = int(random.choice([n for n in range(len(means)) if n != at.neuron and np.isfinite(means[n])]))
        edits: dict[Mode, tuple[CopyEdit, list[list[int]]]] = {
            "steered": (CopyEdit.steer(at.neuron, SIGN[at.pole] * STEER_DOSE * texts.largest), neutral),
            "ablated": (CopyEdit.ablate(at.neuron, float(means[at.neuron])), prefixes),
            "random": (CopyEdit.ablate(another, float(means[another])), prefixes),
        }
        return {
            mode: [
                measure_changes(subject, at.layer, edit, group, continued=mode == "steered") for group in _groups(some)
            ]
            for mode, (edit, some) in edits.items()
        }

    def _measure(self, picks: Sequence[bool | None], *, interval: bool) -> Measured:
        valid = [pick for pick in picks if pick is not None]
        n = len(valid)
        if not picks:
            return _undefined(NO_WINDOWS)
        if n < max(1, min(self._tools.design.min_positives, N_JUDGEMENTS)):
            return Measured(None, None, None, n, None, TOO_FEW)
        ends = wilson(np.array([sum(valid)]), np.array([n]), _Z)
        found = Interval(float(ends.low[0]), float(ends.high[0])) if interval else NO_INTERVAL
        return Measured(sum(valid) / n, *found, n, None)


def _modes(item: Item) -> tuple[Mode, ...]:
    return ("steered", "ablated", "random") if item.control == "own" else ("steered", "ablated")


def _name(mode: Mode) -> str:
    return f"choice/{mode}"


def _groups(texts: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """The texts of each judgement: its own, if there are enough; texts are used again if there are fewer."""
    return [list(texts[i::N_JUDGEMENTS])[:N_TEXTS] or [texts[i % len(texts)]] for i in range(N_JUDGEMENTS) if texts]


def _picked(reply: Reply[int], order: Sequence[int]) -> bool | None:
    """Whether the scored description was picked; None without a valid answer."""
    return None if reply.value is None else order[reply.value] == 0


def _undefined(reason: str) -> Measured:
    return Measured(None, None, None, 0, None, reason)


def _example(
    mode: Mode, changes: Changes, descriptions: Sequence[tuple[str, str]], order: Sequence[int], picked: bool | None,
    reply: Reply[int],
) -> dict[str, Any]:  # fmt: skip
    """`order` has the ids of the descriptions as they were shown, the own one empty."""
    chosen = None if reply.value is None else descriptions[order[reply.value]][0]
    return {
        "mode": mode, **changes.as_json(), "order": [descriptions[k][0] for k in order], "picked": chosen,
        "right": picked, "status": reply.status,
    }  # fmt: skip
