"""What every message has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT = 100_000
"""Characters of a text."""
MAX_TOKENS = 8192
"""Token ids in one request. The server may allow fewer (`--max_tokens`)."""
MAX_LISTED = 1000
"""Entries of a list in an answer that the request can lengthen."""

Layer = Annotated[int, Field(ge=0, lt=100_000)]
Index = Annotated[int, Field(ge=0, lt=2**31)]
"""The index of a neuron in its layer, or a token id."""
Position = Annotated[int, Field(ge=-MAX_TOKENS, lt=MAX_TOKENS)]
"""A token position; negative ones count from the end of the text, as in Python."""
TokenText = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=500)]


class Message(BaseModel):
    """A request: unknown fields and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Answer(BaseModel):
    """An answer. An undefined number is null. A client ignores fields that it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())
