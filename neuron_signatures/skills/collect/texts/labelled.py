"""A labelled text, and what is refused about one."""

from __future__ import annotations

from typing import Final, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import brief

MAX_LABEL: Final = 200
"""Characters of the name of a class or skill."""


class LabelledText(NamedTuple):
    """A text with its class, and its skill within the class (empty if there is none)."""

    text: str
    cls: str
    skill: str


def checked(text: object, cls: object, skill: object, *, where: str) -> LabelledText:
    """The labelled text. Raises `UsageError` unless all three are text that can be stored; `skill` may be None."""
    for name, value in (("text", text), ("class", cls), ("skill", "" if skill is None else skill)):
        if not isinstance(value, str):
            what = "missing" if value is None else f"{type(value).__name__}, not text"
            raise UsageError(f"{name} is {what}", where=where)
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError(f"{name} has an unpaired surrogate, which is not a character", where=where)
        if "\0" in value:
            raise UsageError(f"{name} has a NUL character, so it is not text", where=where)
        if name != "text" and len(value) > MAX_LABEL:
            what = f"{name} {brief(value[:40])}... has {len(value)} characters, more than {MAX_LABEL}"
            raise UsageError(what, where=where, next_step="Is this the column of the texts?")
    assert isinstance(text, str) and isinstance(cls, str)
    if not cls.strip():
        raise UsageError("class is empty", where=where, next_step="Every text needs a class")
    return LabelledText(text, cls, skill if isinstance(skill, str) else "")
