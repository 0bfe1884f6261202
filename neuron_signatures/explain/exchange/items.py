"""What all formats have in common: an explanation of a neuron, and what the file says beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest_file import first_error

Format = Literal["openai", "delphi", "neuronpedia"]
FORMATS: tuple[Format, ...] = ("openai", "delphi", "neuronpedia")


class Input(BaseModel):
    """What other tools wrote: unknown keys are ignored, known ones are checked."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True)


@dataclass(frozen=True)
class Item:
    """One explanation. No format knows poles."""

    layer: int
    neuron: int
    text: str
    explainer: str = ""
    """Empty where the format does not say."""
    model: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    """The known keys that the log has no place for, such as scores. Kept beside the log, for an export."""


@dataclass(frozen=True)
class Exported:
    """An explanation to be written. `source` as it was imported; empty if a person changed the text since then."""

    layer: int
    neuron: int
    text: str
    explainer: str
    model: str | None
    created_at_utc: str
    source: dict[str, Any]


def refuse(what: str, path: Path, number: int | None = None) -> NoReturn:
    """Raise the error for a file, or a line of it, that is not of the format."""
    where = str(path) if number is None else f"{path}, line {number}"
    raise UsageError(what, where=where, next_step="Fix or remove the file")


def reason(e: ValueError) -> str:
    """Why a value is not of the format."""
    return first_error(e) if isinstance(e, ValidationError) else f"not valid JSON ({e})"
