"""Positions of an edit: numbers, `last`, `all`, or the last token of an entity."""

from __future__ import annotations

from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import visible

_ENTITY = "entity:"
_FLAG = "--positions"
_FORMS = "numbers, last, all or entity:TEXT, separated by commas"


def parse_positions(text: str, prompt: Prompt, *, last: int) -> tuple[int, ...]:
    """Positions in ascending order, from 1 to `last`; `all` is all of them, and negative numbers count from the end.

    The first position is refused: its massive activations carry the model's attention, and an edit there breaks the
    model for any reason. Raises `UsageError` for that, for positions outside the prompt or after `last`, where an edit
    has no effect on the target, and for an entity that the prompt has not exactly once.
    """
    found: set[int] = set()
    for part in _parts(text):
        where = f"{_FLAG} {part}"
        if part == "all":
            found |= set(range(1, last + 1))
        elif part == "last":
            found.add(last)
        elif part.startswith(_ENTITY):
            found.add(entity_end(prompt, part.removeprefix(_ENTITY), where=where))
        else:
            found.add(_number(part, len(prompt.token_ids), where))
    for pos in sorted(found):
        where = f"{_FLAG} {text}"
        if pos == 0:
            what = "position 0 has massive activations, and an edit there breaks the model for any reason"
            raise UsageError(what, where=where, next_step="Use positions from 1")
        if pos > last:
            what = f"position {pos} comes after the target's, {last}: an edit there has no effect on it"
            raise UsageError(what, where=where)
    if not found:
        what = "a prompt of one token has no position that can be edited"
        raise UsageError(what, where=f"{_FLAG} {text}", next_step="Use a longer prompt")
    return tuple(sorted(found))


def entity_end(prompt: Prompt, entity: str, *, where: str) -> int:
    """Position of the last token of `entity` in the prompt. Raises `UsageError` unless it occurs exactly once."""
    text = "".join(prompt.tokens)
    n = text.count(entity) if entity else 0
    if n != 1:
        what = f"{visible(entity)!r} occurs {n} times in the prompt"
        raise UsageError(what, where=where, next_step="Give the position as a number")
    end = text.index(entity) + len(entity)
    length = 0
    for pos, token in enumerate(prompt.tokens):
        length += len(token)
        if length >= end:
            return pos
    raise AssertionError("the entity is in the text")


def _parts(text: str) -> list[str]:
    """The parts between commas; a comma inside an entity belongs to it if no form follows."""
    parts: list[str] = []
    for part in text.split(","):
        known = part.strip() in ("last", "all") or part.strip().startswith(_ENTITY) or _is_number(part)
        if not known and parts and parts[-1].startswith(_ENTITY):
            parts[-1] += "," + part
        else:
            parts.append(part.strip() if known else part)
    return parts


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _number(part: str, n: int, where: str) -> int:
    if not _is_number(part) or len(part) > 9:
        raise UsageError(f"{visible(part[:60])!r} names no position", where=where, next_step=f"Use {_FORMS}")
    pos = int(part)
    if not -n <= pos < n:
        raise UsageError(f"{pos} is not in a prompt of {n} tokens", where=where)
    return pos % n
