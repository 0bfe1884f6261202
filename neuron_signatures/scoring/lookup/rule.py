"""`find_rule`: at which tokens and n-grams a neuron is active, with precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.lookup.cover import choose_ngrams, f1_of
from neuron_signatures.scoring.lookup.positions import Positions, flat_positions
from neuron_signatures.scoring.texts import Text, strongest_texts, uniform_texts

if TYPE_CHECKING:
    from jaxtyping import Int64

    from neuron_signatures.runs.records.reader import Records

SHARE = 0.25
"""Share of the largest activation on `explain` from which a position is active."""
MIN_GAIN = 0.005
"""Of F1, by which each further n-gram must improve the rule."""
MIN_F1 = 0.1
"""Of a rule. Below it the tokens say too little about when the neuron is active, and there is no rule."""
MAX_NGRAMS = 50
_DIGITS = 6


def find_rule(texts: Sequence[Text], strongest: Sequence[Text] = (), *, n_positions: int | None = None) -> Rule | None:
    """The smallest set of tokens and n-grams (up to three tokens) at whose last token the neuron is active.

    `texts` are the uniform sample of `explain`, `strongest` the list of strongest windows of `explain`, and
    `n_positions` is how many positions count in all documents of `explain`.

    *Active*: at least a quarter of the largest activation. The neuron's 99th percentile, which is the truth of `f1` and
    `auprc`, will not do here: it calls noise active in a neuron that fires at one token of a thousand, and only the
    strongest members of a class active in a neuron that fires at every tenth. Half of the largest leaves many real
    neurons with too few active positions.

    *Weights*: the strongest windows are not a uniform sample. Their positions count once each, and the other sampled
    positions stand for the rest of the corpus: (`n_positions` - listed) / (sampled and not listed) each. So precision
    and recall are estimates for all documents of `explain`. Without `n_positions` every position counts once.

    *Choice*: greedily, each time the n-gram that gives the whole rule the best F1, as long as F1 grows by `MIN_GAIN`.
    Only n-grams that are active in two documents are candidates, and only if naming them saves more bits in the
    description of which positions are active than the name takes, by a margin (`cover`). Ties go to the shorter n-gram,
    then to the first in the order of the tokens. None if there is no such n-gram, if F1 is below `MIN_F1`, or if the
    pole is never active.

    The result depends neither on the order of the texts nor on the machine.
    """
    positions = flat_positions(texts, strongest, n_positions)
    threshold = active_from(positions)
    if threshold is None:
        return None
    active = positions.acts >= threshold
    ngrams = choose_ngrams(positions, active, min_gain=MIN_GAIN, max_ngrams=MAX_NGRAMS)
    which = _longest(positions, ngrams)
    if f1_of(positions.weights, active, which >= 0) < MIN_F1:
        return None
    return _rule(positions, ngrams, which, active, threshold)


def rule_of(records: Records, at: NeuronPole) -> Rule | None:
    """The rule of one pole of a neuron of a run. Raises `UsageError` if its activations are not stored."""
    n_positions = records.moments(at.layer, at.neuron, parts=("explain",)).count
    uniform = uniform_texts(records, at, parts=("explain",))
    return find_rule(uniform, strongest_texts(records, at, parts=("explain",)), n_positions=n_positions)


def active_from(positions: Positions) -> float | None:
    """The activation from which a position is active; None if the neuron has no activation of the pole's sign."""
    if not len(positions.acts) or (largest := float(positions.acts.max())) <= 0:
        return None
    return SHARE * largest


def _rule(
    positions: Positions, ngrams: list[tuple[str, ...]], which: np.ndarray, active: np.ndarray, threshold: float
) -> Rule:
    named = which >= 0
    hits = float(positions.weights[active & named].sum())
    return Rule(
        ngrams=[list(ngram) for ngram in ngrams],
        acts=[_mean(positions, which == i) for i in range(len(ngrams))],
        threshold=threshold,
        precision=_rounded(hits / float(positions.weights[named].sum())),
        recall=_rounded(hits / float(positions.weights[active].sum())),
        n_active=int(active.sum()),
        n_named=int(named.sum()),
    )


def _longest(positions: Positions, ngrams: list[tuple[str, ...]]) -> Int64[np.ndarray, " pos"]:
    """The index of the longest n-gram that ends at each position, -1 for none, as `scoring.ngrams` finds it."""
    which = np.full(len(positions.acts), -1, np.int64)
    place = {token: i for i, token in enumerate(positions.vocabulary)}
    for i in sorted(range(len(ngrams)), key=lambda i: len(ngrams[i])):
        rows = [positions.tokens[back] == place[token] for back, token in enumerate(reversed(ngrams[i]))]
        which[np.logical_and.reduce(rows)] = i
    return which


def _mean(positions: Positions, where: np.ndarray) -> float:
    weights = positions.weights[where]
    return _rounded(float((weights * positions.acts[where]).sum() / weights.sum())) if len(weights) else 0.0


def _rounded(value: float) -> float:
    """Six digits: more would depend on how a machine adds."""
    return float(f"{value:.{_DIGITS}g}")
