"""One line of a log of explanations.

Every line has the same keys, whatever it is about, so that a table can be made of a log without rules of its own:
a vote has an empty `text`, and so has an explanation whose request failed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.explanations.names import SET_RULE, Kind
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import Pole

MAX_TEXT = 20_000
"""Characters of a text that are stored."""
MAX_NAME = 200

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, Field(max_length=MAX_NAME)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Number = Annotated[float, Field(strict=False)]


class Rule(BaseModel):
    """What a `lookup` explanation says, for programs: the neuron is active at the last token of each n-gram.

    `threshold` is the activation (of the pole, so positive) from which a position counts as active. Precision and
    recall are those on the part `explain`, None where undefined: of the positions that the rule names, the share that
    is active, and of the active positions the share that it names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    ngrams: Annotated[list[Annotated[list[str], Field(min_length=1, max_length=8)]], Field(max_length=1000)]
    acts: list[Number]
    """Mean activation of the pole at the last token of each n-gram, which a simulator predicts there."""
    threshold: Number
    precision: Number | None
    recall: Number | None
    n_active: Count
    n_named: Count


class Entry(BaseModel):
    """A line of `explanations/<set>.jsonl`. Keys of later versions are kept out of the way, not refused.

    `kind` says what it is:
    - `explanation`: `text` explains one pole of a neuron, if `status` is ok. `parent` is the explanation that it
      revises, or that a person edited.
    - `choice`: `about` is the explanation that was chosen among several; `values` are the scores by id.
    - `vote`: `value` is 1, -1 or 0 (withdrawn). `lock`: `value` is 1 or 0 (unlocked). `note`: `text` is the note.
      All about the explanation `about`, by `author_name`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    id: Id
    kind: Kind = "explanation"
    set: Annotated[str, Field(pattern=rf"^{SET_RULE}$")]
    layer: Annotated[int, Field(ge=0, lt=1 << 20)]
    neuron: Annotated[int, Field(ge=0, lt=1 << 31)]
    pole: Pole
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    """As it was answered: raw, so it is escaped wherever it is shown."""
    explainer: Name
    """One of `EXPLAINERS`, `human`, or the name in an imported file."""
    status: Status
    author: Literal["human", "model"]
    author_name: Name | None = None
    """Of a person."""
    created_at_utc: Annotated[str, Field(max_length=40)]
    reason: Annotated[str, Field(max_length=500)] = ""
    """Why the status is not ok."""

    parent: Id | None = None
    about: Id | None = None
    value: int | None = None
    values: dict[str, Number | None] | None = None
    select_by: Name | None = None

    sample: Count = 0
    """Number of the sample, from 0."""
    revision: Count = 0
    """How many revisions led to it."""
    mode: Count | None = None
    """Number of the cluster of strongest windows that it is about; None if it is about all."""
    mode_share: Number | None = None
    """Share of the strongest windows that are in that cluster."""
    rule: Rule | None = None

    client: Name | None = None
    """openai, local or none; None in imported files."""
    model: Name | None = None
    """As it was asked for."""
    answered_by: Name | None = None
    """The model as it was answered."""
    system_fingerprint: Name | None = None
    temperature: Number | None = None
    seed: Count | None = None
    prompt_version: Name | None = None
    prompt_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    evidence: Annotated[list[Count], Field(max_length=10_000)] = Field(default_factory=list)
    """Numbers of the windows of the corpus that the prompt shows."""
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cost: Annotated[float, Field(strict=False, ge=0)] | None = None
    """US dollars; None where no price is known."""
    seconds: Annotated[float, Field(strict=False, ge=0)] | None = None

    @property
    def neuron_name(self) -> str:
        """Such as `L3N508+`."""
        return f"L{self.layer}N{self.neuron}{self.pole}"
