"""Precision and recall of a rule on texts, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.ngrams import longest_match
from neuron_signatures.scoring.texts import Text
from neuron_signatures.stats.bootstrap import bootstrap_weights


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % percentile interval over documents; None where undefined.

    The interval covers the draws in which the share is defined; without such draws it is None.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RuleScore:
    """Of the named positions the share that is active, and of the active positions the share that is named."""

    precision: Estimate
    recall: Estimate
    f1: float | None
    """Harmonic mean of the two, 0 if no position is both; None if none is either."""
    n_active: int
    n_named: int
    n_positions: int


def score_rule(rule: Rule, texts: Sequence[Text], *, threshold: float, n_draws: int, seed: int) -> RuleScore:
    """Of a rule on texts of the uniform sample. A position is active from `threshold`: that of the neuron of the texts.

    For a neuron's own rule it is `rule.threshold`; for another neuron's rule it is not. Intervals are a bootstrap of
    whole documents, `n_draws` of them.
    """
    counts = _counts(rule, texts, threshold)
    total = counts.sum(axis=0)
    both, active, named = (int(n) for n in total[:3])
    weights = bootstrap_weights([("", "")] * len(counts), n_draws=n_draws, rng=np.random.default_rng(seed))
    drawn = weights @ counts
    return RuleScore(
        _estimate(both, named, drawn[:, 0], drawn[:, 2]), _estimate(both, active, drawn[:, 0], drawn[:, 1]),
        2 * both / (active + named) if active + named else None, active, named, int(total[3]),
    )  # fmt: skip


def _counts(rule: Rule, texts: Sequence[Text], threshold: float) -> np.ndarray:
    """Per document: positions that are active and named, active, named, and all."""
    documents = {document: i for i, document in enumerate(sorted({text.document for text in texts}))}
    counts = np.zeros((len(documents), 4))
    for text in texts:
        active = (text.acts >= threshold)[text.counts]
        named = (longest_match(rule.ngrams, text.tokens) >= 0)[text.counts]
        counts[documents[text.document]] += ((active & named).sum(), active.sum(), named.sum(), len(active))
    return counts


def _estimate(part: int, whole: int, parts: np.ndarray, wholes: np.ndarray) -> Estimate:
    if not whole:
        return Estimate(None, None, None)
    shares = parts[wholes > 0] / wholes[wholes > 0]
    low, high = (float(v) for v in np.percentile(shares, [2.5, 97.5])) if len(shares) else (None, None)
    return Estimate(part / whole, low, high)
