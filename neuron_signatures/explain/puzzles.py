"""Neuron puzzles: hand-written neurons whose explanation is known, in the format of the public set.

A file is a JSON list of `{"name", "explanation", "false_explanations": [...], "sentences": [[token | [token,
activation], ...], ...]}`. A bare token has activation 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest_file import first_error

_NEXT_STEP = "Fix the file; docs/explain.md shows one"


class TokenAct(NamedTuple):
    """A token of a sentence and the activation of the neuron there."""

    token: str
    act: float


def _with_act(value: Any) -> Any:
    """A bare token with activation 0. Raises `ValueError` for what is neither a token nor a pair."""
    if isinstance(value, str):
        return TokenAct(value, 0.0)
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        raise ValueError("is neither a token nor [token, activation]")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_Act = Annotated[float, Field(strict=True, ge=0, le=3.4e38)]
_TokenText = Annotated[str, Field(max_length=2000)]  # pydantic refuses half surrogates where it measures a length
_Token = Annotated[tuple[_TokenText, _Act], Field(strict=False), BeforeValidator(_with_act)]


class Puzzle(BaseModel):
    """A neuron. `explanation` is true, and each of `false_explanations` is not."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    explanation: _Text
    false_explanations: Annotated[list[_Text], Field(max_length=100)]
    sentences: Annotated[
        list[Annotated[list[_Token], Field(min_length=1, max_length=1 << 12)]], Field(min_length=1, max_length=10_000)
    ]

    @model_validator(mode="after")
    def _check(self) -> Puzzle:
        if not any(act > 0 for sentence in self.sentences for _, act in sentence):
            raise ValueError("no token of its sentences has an activation above 0")
        if self.explanation in self.false_explanations:
            raise ValueError("its explanation is also one of false_explanations")
        return self

    def texts(self) -> list[list[TokenAct]]:
        """The sentences, each as tokens with their activations."""
        return [[TokenAct(token, act) for token, act in sentence] for sentence in self.sentences]


def read_puzzles(path: Path) -> list[Puzzle]:
    """The puzzles of a file. Raises `UsageError` with the file and its first wrong field."""
    try:
        puzzles = _PUZZLES.validate_python(read_json_file(path, max_bytes=RECORD_BYTES))
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=str(path)) from e
    except BadRunError as e:
        raise UsageError(e.what, where=str(path), next_step=_NEXT_STEP) from e
    except ValidationError as e:
        raise UsageError(first_error(e), where=str(path), next_step=_NEXT_STEP) from e
    names = [p.name for p in puzzles]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two puzzles have the name {twice!r}", where=str(path), next_step=_NEXT_STEP)
    return puzzles


_PUZZLES: TypeAdapter[list[Puzzle]] = TypeAdapter(Annotated[list[Puzzle], Field(min_length=1, max_length=100_000)])
