"""The interface of all simulators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32


@dataclass(frozen=True)
class Said:
    """An explanation as a simulator reads it: its text, and the rule if it is one of `lookup`."""

    text: str
    rule: Rule | None = None

    @property
    def shortest(self) -> str:
        """The n-grams of the rule, else the text: a rule's text also says how precise it is."""
        if self.rule is None:
            return self.text
        return ", ".join("".join(ngram).strip() for ngram in self.rule.ngrams)


@runtime_checkable
class Simulator(Protocol):
    """Predicts activations. `lowest` and `highest` limit a prediction; None where there is no limit."""

    name: str
    lowest: float | None
    highest: float | None

    def simulate(self, said: Said, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]] | None:
        """One value per token of each text, on a scale of its own.

        None if it cannot predict from this explanation, which is not the same as predicting zeros.
        """
        ...
