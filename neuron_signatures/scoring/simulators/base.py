"""The interface of all simulators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.llm.status import Status
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


class Simulated(NamedTuple):
    """The prediction of one window; `values` is None, and `status` not ok, if it failed. A failure is never zeros."""

    values: Float32[np.ndarray, " pos"] | None
    status: Status = "ok"
    reason: str = ""


class Usage(NamedTuple):
    """What the requests of one call took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    answered_by: str | None = None


@runtime_checkable
class WindowSimulator(Protocol):
    """A simulator that asks a language model, or one of `Simulator` behind the same interface.

    `levels` is the number of values of its scale above 0 (10 for 0 to 10); None for a continuous one.
    """

    name: str
    lowest: float | None
    highest: float | None
    levels: int | None
    prompt_version: str | None

    async def simulate_windows(
        self, said: Said, texts: Sequence[Text], *, again: frozenset[int]
    ) -> tuple[list[Simulated], Usage] | None:
        """One prediction per text. None if it cannot predict from this explanation at all.

        `again` are the numbers of the texts whose earlier answer is not wanted again.
        """
        ...
