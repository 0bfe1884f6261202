"""Messages about search in a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neuron_signatures.api.base import MAX_LISTED, Answer, Layer, Message
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.search.names import PER_TEXT, By, Kind


class SearchRequest(Message):
    """`by` meaning and words look for texts of the `kinds`; token looks for neurons that promote (or suppress) it."""

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    by: By = "words"
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] | None = None
    """None: both; by meaning explanations alone, if there are any."""
    suppressed: bool = False
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000)] | None = None
    top_k: int = Field(default=20, ge=1, le=MAX_LISTED)
    per_text: int = Field(default=PER_TEXT, ge=1, le=MAX_LISTED)
    """Hits of one text, which many neurons can share."""


class Hit(Answer):
    """`score` is the cosine (meaning), BM25 (words) or the write score (token); larger is better. A negative pole's
    write score has the other sign than the neuron's: it is the effect of what the pole does."""

    layer: int
    neuron: int
    pole: Pole
    kind: Literal["explanation", "exemplar", "token"]
    text: str
    score: float
    set: str = ""
    """Of an explanation: its set, its id and its explainer."""
    id: str = ""
    explainer: str = ""
    rank: int | None = None
    """Of an exemplar: its rank among the pole's; of a token: its rank among those that the pole writes."""
    window: int | None = None
    """Of an exemplar: its number in the corpus."""
    peak: tuple[int, int] | None = None
    """Of an exemplar: where the token of the peak begins and ends in `text`, in characters."""
    value: float | None = None
    """Of an exemplar: the activation at the peak."""
    z: float | None = None
    """Of a token: its score in standard deviations of the neuron's write scores from their mean; None if undefined."""


class SearchAnswer(Answer):
    hits: list[Hit]
    notes: list[str]
    """What the index lacks, such as explanations that were added after it was made."""
    seconds: float
