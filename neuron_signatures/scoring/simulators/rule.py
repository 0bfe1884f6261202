"""The simulator `rule`: applies the rule of a `lookup` explanation, or matches words. It needs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.ngrams import Ngrams
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.words import explanation_stems, stems_by_end
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32


@dataclass
class RuleSimulator:
    """With a rule: the mean activation of the longest n-gram that ends at a position, 0 where none ends.

    Without a rule: 1 at the last token of each word of the text that the explanation has too, by stem and without
    regard to case, else 0. It cannot predict from an explanation that has no words but stop words.
    """

    name: str = "rule"
    lowest: float | None = None
    highest: float | None = None

    def simulate(self, said: Said, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]] | None:
        if said.rule is not None:
            return _rule_acts(said.rule, texts)
        stems = explanation_stems(said.text)
        if not stems:
            return None
        return [_lexical(stems, text.tokens) for text in texts]


def _rule_acts(rule: Rule, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]]:
    acts, ngrams = np.array([*rule.acts, 0], np.float32), Ngrams(rule.ngrams)
    return [acts[ngrams.longest(text.tokens)] for text in texts]


def _lexical(stems: frozenset[str], tokens: tuple[str, ...]) -> Float32[np.ndarray, " pos"]:
    return np.array([float(not stems.isdisjoint(found)) for found in stems_by_end(tokens)], np.float32)
