"""One line of a log of scores: the scores of one explanation, or of one control, on one pole of a neuron."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.explanations.entry import Count, Id, Name, Number
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.scores.names import Control, SampleName

_Reason = Annotated[str, Field(max_length=500)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class ScoreValue(_Part):
    """One score. `value` is None where it is undefined; `undefined` then says why (such as `too_few_examples`)."""

    value: Number | None
    ci_low: Number | None = None
    ci_high: Number | None = None
    """95 % percentile interval of a bootstrap over documents; None for controls and where undefined."""
    n: Count
    """Positions, windows or sentences in the score."""
    n_positive: Count | None = None
    """Of them: at which the neuron is active. None where the score has no classes."""
    undefined: Annotated[str, Field(max_length=40)] = ""


class StoredWindow(_Part):
    """What was predicted in a window. The activations are in the records."""

    window: Count
    sample: SampleName
    status: Status = "ok"
    reason: _Reason = ""
    first: Count = 0
    """The position in the window of the first value."""
    values: Annotated[list[Number], Field(max_length=100_000)] | None = None
    """One per token, rounded to 4 significant digits; None if the request failed."""


class StoredMistake(_Part):
    """A position at which the explanation fails: predicted and not active, or active and not predicted.

    `predicted` is a share of the largest prediction, `actual` of the largest activation.
    """

    window: Count
    pos: Count
    predicted: Number
    actual: Number


class LineKey(NamedTuple):
    """What a line is about. A later line of the same key replaces an earlier one."""

    explanation: str
    at: NeuronPole
    control: Control


class ScoreLine(_Part):
    """A line of `scores/<set>__<scorer>.jsonl`. Keys of later versions are ignored.

    `explanation` is the id of the explanation whose text was scored: of the neuron itself, or with the control `other`
    that of the neuron `other`. For `constant`, `ceiling` and `lookup` it is the own one, beside which they are shown.
    `status` is ok if at least one request gave a valid answer (or none was needed), else that of the first failure.
    """

    explanation: Id
    layer: Annotated[int, Field(ge=0, lt=1 << 20)]
    neuron: Annotated[int, Field(ge=0, lt=1 << 31)]
    pole: Pole
    control: Control
    other: Annotated[str, Field(max_length=60)] = ""
    """Such as `L3N508+`."""
    status: Status
    reason: _Reason = ""
    scores: Annotated[dict[Annotated[str, Field(max_length=60)], ScoreValue], Field(max_length=100)]
    """By name, such as `correlation/uniform`. Empty if the status is not ok."""
    requests: Annotated[list[Status], Field(max_length=100_000)] = Field(default_factory=list)
    """The status of each request, in the order of the scorer; empty if the scorer sends none."""
    windows: Annotated[list[StoredWindow], Field(max_length=10_000)] = Field(default_factory=list)
    """Predictions of the own explanation."""
    mistakes: Annotated[list[StoredMistake], Field(max_length=100)] = Field(default_factory=list)
    examples: Annotated[list[dict[str, Any]], Field(max_length=1000)] = Field(default_factory=list)
    """What a judge was shown or a writer wrote, and what came of it; the keys are the scorer's (docs/run-format.md)."""
    prompt_version: Name | None = None
    answered_by: Name | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cost: Annotated[float, Field(strict=False, ge=0)] | None = None
    seconds: Annotated[float, Field(strict=False, ge=0)] | None = None
    created_at_utc: Annotated[str, Field(max_length=40)]

    @property
    def at(self) -> NeuronPole:
        return NeuronPole(self.layer, self.neuron, self.pole)

    @property
    def key(self) -> LineKey:
        return LineKey(self.explanation, self.at, self.control)

    @property
    def coverage(self) -> float | None:
        """The share of the requests with a valid answer; None if none was sent."""
        return self.requests.count("ok") / len(self.requests) if self.requests else None
