"""Messages about search in a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neuron_signatures.api.base import MAX_LISTED, Answer, Layer, Message
from neuron_signatures.runs.records.names import Pole

By = Literal["meaning", "words", "token"]
Kind = Literal["explanation", "exemplar"]


class SearchRequest(Message):
    """`by` meaning and words look for texts of the `kinds`; token looks for neurons that promote (or suppress) it."""

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    by: By = "words"
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("explanation", "exemplar")
    suppressed: bool = False
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000)] | None = None
    k: int = Field(default=20, ge=1, le=MAX_LISTED)


class Hit(Answer):
    """`score` is the cosine (meaning), minus BM25 (words; larger is better) or the write score (token)."""

    layer: int
    neuron: int
    pole: Pole
    kind: Literal["explanation", "exemplar", "token"]
    text: str
    score: float
    set: str = ""
    """Of an explanation: its set, and its id."""
    id: str = ""
    rank: int | None = None
    """Of an exemplar: its rank among the pole's; of a token: its rank among those that the pole writes."""


class SearchAnswer(Answer):
    hits: list[Hit]
    notes: list[str]
    """What the index lacks, such as explanations that were added after it was made."""
    seconds: float
