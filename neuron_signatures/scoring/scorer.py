"""The interface of all scorers: an explanation and the windows of a neuron in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.names import Control, SampleName, Scorer
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.mistakes import Mistakes
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32

TOO_FEW = "too_few_examples"
"""Why a score is undefined for lack of evidence; other reasons are those of `predictions.Undefined`."""


@dataclass(frozen=True)
class Measured:
    """A score with its 95 % interval over documents. A score without a value says why in `undefined`."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Positions, windows or sentences."""
    n_positive: int | None
    """Of them: active ones; None where the score has no classes."""
    undefined: str = ""


@dataclass(frozen=True, eq=False)
class PredictedWindow:
    """What a simulator said about a window; `values` is None if its request failed.

    A window of several groups is there once, in the first of them; `mistake` is a window of the uniform sample that is
    stored only because the explanation fails there.
    """

    group: SampleName
    text: Text
    values: Float32[np.ndarray, " pos"] | None
    status: Status = "ok"
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Item:
    """What is scored: a text, as an explanation of one pole of a neuron.

    `explanation` is the id of the explanation the text is from. `others` are explanations of other neurons with their
    ids, for scorers that must show several at once; empty otherwise.
    """

    at: NeuronPole
    explanation: str
    control: Control
    said: Said
    again: frozenset[int] = frozenset()
    """Numbers of the requests that failed before with an answer of the model, which is not wanted again."""
    others: Sequence[tuple[str, Said]] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """What a scorer found. `statuses` has the status of each request; the requests of an item, and their order, depend
    on the item and its texts only, so that failed ones can be sent again."""

    measures: Mapping[str, Measured]
    statuses: Sequence[Status] = ()
    reason: str = ""
    """Of the first request that failed."""
    windows: Sequence[PredictedWindow] = ()
    mistakes: Mistakes | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    """What was shown or written and what came of it, as values of JSON."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    answered_by: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def status(self) -> Status:
        """ok if a request gave a valid answer or none was needed, else the status of the first."""
        return self.statuses[0] if self.statuses and "ok" not in self.statuses else "ok"


@runtime_checkable
class ItemScorer(Protocol):
    """Scores items. `prompt_version` is None if no prompt is sent.

    `controls` are those that it can score; `others` scorers that show several explanations at once need them in the
    item. `n_requests` is how many requests an item takes, for forecasts.
    """

    name: Scorer
    prompt_version: str | None
    controls: frozenset[Control]
    n_others: int

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        """Raises `StopAsking` if a limit is reached: then nothing of the item is stored."""
        ...

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[object]:
        """The requests that `score` would send, as `ChatRequest` or one object per pass of a local model."""
        ...

    def settings(self) -> dict[str, Any]:
        """What a continued log must share, beside the design and the model."""
        ...
