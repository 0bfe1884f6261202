"""Texts with activations for tests of scores and rules, written so that the answer is visible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.texts import Text


def text(
    words: str | Sequence[str], acts: Sequence[float], *, window: int = 0, document: int | None = None, first: int = 0
) -> Text:
    """A text; of words in one string each is a token with a space in front. Positions from `first` count."""
    tokens = tuple(f" {w}" for w in words.split()) if isinstance(words, str) else tuple(words)
    counts = np.arange(len(tokens)) >= first
    return Text(window, window if document is None else document, tokens, np.array(acts, np.float32), counts)


def texts_where(sentences: Sequence[str], fires: dict[str, float]) -> list[Text]:
    """One document per sentence; the activation of each word is that in `fires`, else 0."""
    return [text(s, [fires.get(w, 0.0) for w in s.split()], window=i) for i, s in enumerate(sentences)]


def rule_for(*ngrams: Sequence[str], acts: Sequence[float] | None = None, threshold: float = 1.0) -> Rule:
    return Rule(
        ngrams=[list(g) for g in ngrams], acts=[1.0] * len(ngrams) if acts is None else list(acts), threshold=threshold,
        precision=None, recall=None, n_active=0, n_named=0,
    )  # fmt: skip


class Fixed:
    """A simulator that answers the same values whatever the explanation says."""

    name = "fixed"

    def __init__(
        self, *values: Sequence[float], lowest: float | None = None, highest: float | None = None, silent: bool = False
    ) -> None:
        self.values = [np.array(v, np.float32) for v in values]
        self.lowest, self.highest, self.silent = lowest, highest, silent

    def simulate(self, said: Said, texts: Sequence[Text]) -> list[np.ndarray] | None:
        return None if self.silent else self.values
