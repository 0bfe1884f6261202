"""Measured responses, kept while the work goes on, and their means per class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from neuron_signatures.interventions.kept import Kept
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.steer.edits import BankWeights, Change
from neuron_signatures.skills.steer.measure import Measure, Response
from neuron_signatures.skills.steer.plan import Group
from neuron_signatures.skills.steer.texts import ClassTexts

_AT_ONCE = 64
"""Changes between two times at which finished ones may be kept."""


@dataclass(frozen=True)
class Found:
    """What one change does: the mean over the texts of each class, and the price. NaN where it is undefined. `texts`
    are the changes of the single texts; of specific units only, else None."""

    by_class: Float64[np.ndarray, " class"]
    kl: float
    perplexity_ratio: float
    texts: Float64[np.ndarray, " text"] | None = None
    tokens: Float64[np.ndarray, " class"] | None = None
    """Change of the log probability that the next token is one of each class's tokens, mean over the texts of the other
    classes."""
    token_texts: Float64[np.ndarray, "class text"] | None = None
    """The same on every text; of specific units only."""

    def against_others(self, at: int) -> float:
        """Of the class with index `at`, less the mean over the others; NaN if there are none."""
        others = np.delete(self.by_class, at)
        return float(self.by_class[at] - others.mean()) if len(others) else math.nan


Results = dict[tuple[Bank, Change], Found]


def measure_groups(
    groups: Iterable[Group],
    measure: Measure,
    texts: ClassTexts,
    weights: Mapping[Bank, BankWeights],
    kept: Kept,
    bar: Bar,
    *,
    half: str,
    whole: frozenset[tuple[Bank, Change]],
) -> Results:
    """The results of all changes; those that a stopped command has finished are taken over.

    The responses on single texts are kept of the changes in `whole`.
    """
    found: Results = {}
    for group in groups:
        stored = {c: kept.get(_key(half, group.bank, c)) for c in group.changes}
        found |= {(group.bank, c): _loaded(row) for c, row in stored.items() if row is not None}
        left = [c for c in group.changes if stored[c] is None]
        bar.skip(len(group.changes) - len(left))
        for start in range(0, len(left), _AT_ONCE):
            some = left[start : start + _AT_ONCE]
            for change, response in zip(some, measure.responses(weights[group.bank], some), strict=True):
                one = _found(response, texts, single=(group.bank, change) in whole)
                found[group.bank, change] = one
                kept.put(_key(half, group.bank, change), _row(one))
            bar.advance(len(some))
    return found


def _found(response: Response, texts: ClassTexts, *, single: bool) -> Found:
    means = np.array([response.texts[rows].mean() for rows in texts.rows.values()])
    tokens = None
    if response.tokens is not None and len(texts.rows) > 1:
        by_class = np.stack([response.tokens[rows].mean(0) for rows in texts.rows.values()])
        tokens = np.array([np.delete(by_class[:, at], at).mean() for at in range(len(by_class))])
    on_texts = response.tokens.T if single and tokens is not None and response.tokens is not None else None
    return Found(means, response.kl, response.perplexity_ratio, response.texts if single else None, tokens, on_texts)


def _key(half: str, bank: Bank, change: Change) -> str:
    return f"{half} {bank.key} {change.unit} {change.edit} {change.value!r}"


def _row(found: Found) -> list[object]:
    texts = None if found.texts is None else _plain(found.texts)
    tokens = None if found.tokens is None else _plain(found.tokens)
    on_texts = None if found.token_texts is None else [_plain(row) for row in found.token_texts]
    return [_plain(found.by_class), *_plain(np.array([found.kl, found.perplexity_ratio])), texts, tokens, on_texts]


def _loaded(row: list[object]) -> Found:
    by_class, kl, ratio, *rest = row
    numbers = _array([kl, ratio])
    texts, tokens, on_texts = (None if values is None else _array(values) for values in rest)
    return Found(_array(by_class), float(numbers[0]), float(numbers[1]), texts, tokens, on_texts)


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _array(values: object) -> np.ndarray:
    return np.array(values, dtype=np.float64)
