"""The windows on which explanations of a neuron are scored, and those on which scores are fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.scoring.design import Design, Group, NeuronTexts
from neuron_signatures.scoring.texts import SIGN, Text, strongest_texts, text_of, uniform_texts

if TYPE_CHECKING:
    from neuron_signatures.runs.records.reader import Records

ACTIVE_PERCENTILE = 99
"""Of the activations of a neuron: above it a position is active."""
SIXTY_TOP, SIXTY_INTERVALS, SIXTY_PER_INTERVAL, SIXTY_RANDOM, SIXTY_OUT_OF_CONTEXT = 6, 12, 2, 10, 20


def neuron_texts(records: Records, at: NeuronPole, design: Design) -> NeuronTexts:
    """The windows of a neuron by the design; they depend on the records, the neuron and the design alone.

    `standard`: `top` are the strongest windows of the pole whose activations are stored; `uniform` is the uniform
    sample in corpus order, or `n_uniform` of its windows at random; `random` are windows of `uniform` at random that
    are not in `top`. Both poles of a neuron have the same `uniform`.

    `sixty`: only that group, and nothing to fit. Six windows from the top, two from each of twelve intervals of the
    activation, ten at random, each window once; and twenty tokens at which the strongest windows peak, in other
    contexts, each as a text of that one token. Fewer where there are no more.

    Raises `UsageError` if the activations of the neuron are not stored.
    """
    threshold, largest = _scale(records, at)
    if design.sampling == "sixty":
        sixty: Mapping[Group, tuple[Text, ...]] = {"sixty": tuple(_sixty(records, at, design.split, design.seed))}
        return NeuronTexts(at, sixty, {}, threshold, largest)
    scored, fitted = (_groups(records, at, part, design) for part in (design.split, design.fit_part))
    return NeuronTexts(at, scored, fitted, threshold, largest)


def _scale(records: Records, at: NeuronPole) -> tuple[float, float]:
    """The threshold and the largest activation of the pole, both on `explain`."""
    sample = records.sample(at.layer, at.neuron, parts=("explain",))
    acts = SIGN[at.pole] * sample.acts[sample.counts].astype(np.float64)
    strongest = records.strongest(*at, parts=("explain",), k=1, rows=False)
    values = [SIGN[at.pole] * w.value for w in strongest if w.value is not None]
    threshold = float(np.percentile(acts, ACTIVE_PERCENTILE)) if len(acts) else 0.0
    return threshold, float(max([*values, acts.max(initial=0.0)]))


def groups_of(
    sample: Sequence[Text], top: Sequence[Text], design: Design, *, seed: Sequence[int]
) -> Mapping[Group, tuple[Text, ...]]:
    """The groups of `standard` sampling from all windows of the uniform sample and the `n_top` strongest ones."""
    order = np.random.default_rng(list(seed)).permutation(len(sample)).tolist()
    in_top = {text.window for text in top}
    others = [sample[i] for i in order if sample[i].window not in in_top]
    uniform = [sample[i] for i in sorted(order[: design.n_uniform])]
    return {"top": tuple(top), "random": tuple(others[: design.n_random]), "uniform": tuple(uniform)}


def _groups(records: Records, at: NeuronPole, part: Part, design: Design) -> Mapping[Group, tuple[Text, ...]]:
    sample, top = uniform_texts(records, at, parts=(part,)), _strongest(records, at, part, design.n_top)
    return groups_of(sample, top, design, seed=(design.seed, at.layer, at.neuron))


def _strongest(records: Records, at: NeuronPole, part: Part, n: int) -> list[Text]:
    """The first `n` whose activations are stored: mostly the first of all."""
    found = strongest_texts(records, at, parts=(part,), k=n)
    return found if len(found) == n else strongest_texts(records, at, parts=(part,))[:n]


def _sixty(records: Records, at: NeuronPole, part: Part, seed: int) -> list[Text]:
    own_seed = int(np.random.default_rng([seed, at.layer, at.neuron]).integers(1 << 31))
    intervals = records.by_interval(
        *at, n_intervals=SIXTY_INTERVALS, per_interval=SIXTY_PER_INTERVAL, parts=(part,), seed=own_seed
    )
    at_random = records.random_windows(at.layer, at.neuron, SIXTY_RANDOM, parts=(part,), seed=own_seed)
    whole = _strongest(records, at, part, SIXTY_TOP)
    whole += _texts([w for interval in intervals for w in interval.windows], at) + _texts(at_random, at)
    alone = records.out_of_context(*at, SIXTY_OUT_OF_CONTEXT, parts=(part,))
    return [*{text.window: text for text in whole}.values(), *(_token_alone(w, at) for w in alone)]


def _texts(windows: Sequence[Window], at: NeuronPole) -> list[Text]:
    return [text_of(w, at.pole) for w in windows if w.acts is not None]


def _token_alone(window: Window, at: NeuronPole) -> Text:
    """The token of the window's `pos` as a text of its own; the truth is the activation in the window."""
    text, pos = text_of(window, at.pole), window.pos
    assert pos is not None
    one = slice(pos, pos + 1)
    return replace(
        text, tokens=text.tokens[one], acts=text.acts[one], counts=text.counts[one], token_ids=text.token_ids[one],
        first=pos,
    )  # fmt: skip
