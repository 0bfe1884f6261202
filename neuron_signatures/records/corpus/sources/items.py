"""What a source of documents yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

NO_TEXT = "no_text"
NOT_UTF8 = "not_utf8"


@dataclass(frozen=True)
class Item:
    """A document, or (`skipped`) the reason why something of the source is not one.

    `name` says where the text comes from. `detail` is the reason in words, for a warning.
    """

    name: str
    text: str = ""
    skipped: str = ""
    detail: str = ""


@runtime_checkable
class Source(Protocol):
    """Documents in a fixed order: two readings of an unchanged source yield the same items.

    Reading raises `UsageError` for input that must be changed, `EnvironmentProblem` if reading fails half-way.
    """

    def describe(self) -> dict[str, Any]:
        """What is read, for the record and for the check on resume: JSON values that identify the source."""

    def items(self) -> Iterator[Item]:
        """The documents, from the first on."""
