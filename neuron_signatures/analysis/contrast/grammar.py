"""The sides of a contrast as they are written: `PROMPTS` or `PROMPTS@POSITIONS`, such as `capital_*@token: is`.

PROMPTS are terms separated by commas; a prompt is in if it matches one: an id, a pattern of ids with * and ?, or
FIELD=VALUE of the prompts' metadata (a list matches by any of its elements). POSITIONS are `all` (the default), `last`,
a number, `token:TEXT` and `before:TEXT` (positions with this token, and with this token next; alternatives separated by
|, spaces count), or `rest` (of B: positions that are not in A).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.tokens import visible

_FORMS = "all, last, a number, token:TEXT, before:TEXT or rest"
_PROMPT_FORMS = "Use ids, patterns such as probe_1_*, or FIELD=VALUE, separated by commas"
_MOST_TEXT = 20_000  # a record holds both sides
Where = Literal["all", "last", "number", "token", "before", "rest"]


@dataclass(frozen=True)
class Positions:
    """Which positions of a prompt. `tokens` are raw, for `token` and `before`; `number` may be negative."""

    where: Where
    number: int = 0
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """One side as written. `terms` is None for the prompts that the other side does not name."""

    text: str
    terms: tuple[str, ...] | None
    positions: Positions


def parse_side(text: str, *, flag: str) -> Side:
    """Raises `UsageError` with the flag for text that is not of the grammar."""
    if len(text) > _MOST_TEXT:
        what = f"is {len(text)} characters long, more than {_MOST_TEXT}"
        raise UsageError(what, where=flag, next_step="Use patterns, or a field of the prompts file")
    prompts, at, positions = text.partition("@")
    terms = tuple(t.strip() for t in prompts.split(","))
    if not all(terms):
        what = f"{text!r} has an empty term before the @" if at else f"{text!r} has an empty term"
        raise UsageError(what, where=flag, next_step=f"{_PROMPT_FORMS}; * for all")
    return Side(text, terms, _positions(positions, flag) if at else Positions("all"))


def chosen_prompts(side: Side, prompts: Sequence[PromptRecord], *, flag: str) -> list[PromptRecord]:
    """The prompts that match a term of `side`, in the order of the run. Every term must match one."""
    chosen: set[str] = set()
    for term in side.terms or ():
        found = _matching(term, prompts, flag)
        if not found:
            raise UsageError(_no_match(term, prompts), where=flag, next_step=_PROMPT_FORMS)
        chosen |= found
    return [p for p in prompts if p.probe_id in chosen]


def positions_of(positions: Positions, prompt: PromptRecord) -> list[int]:
    """The positions in one prompt, ascending, whether counted or not."""
    n, number = prompt.seq_len, positions.number
    match positions.where:
        case "all" | "rest":
            return list(range(n))
        case "last":
            return [n - 1]
        case "number":
            at = number + n if number < 0 else number
            return [at] if 0 <= at < n else []
        case "token":
            return [i for i, t in enumerate(prompt.tokens) if t in positions.tokens]
        case "before":
            return [i for i, t in enumerate(prompt.tokens[1:]) if t in positions.tokens]


def check_tokens(positions: Positions, prompts: Sequence[PromptRecord], *, flag: str) -> None:
    """Raise `UsageError` for the first token text that is in none of the prompts, with the tokens that are close."""
    present = {t for p in prompts for t in p.tokens}
    for text in positions.tokens:
        if text not in present:
            low = text.strip().casefold()
            close = sorted(t for t in present if low and low in t.casefold())[:5]
            near = f"; there are {', '.join(visible(t) for t in close)} (· is a space)" if close else ""
            what = f"no prompt of this side has the token {visible(text)!r}{near}"
            raise UsageError(what, where=flag, next_step="Give tokens exactly, with their leading space")


def _positions(text: str, flag: str) -> Positions:
    kind, colon, tokens = text.partition(":")
    kind, word = kind.strip(), text.strip()
    if colon and kind in ("token", "before"):
        texts = tuple(tokens.split("|"))
        if not all(texts):
            raise UsageError(
                f"@{text} has an empty token", where=flag, next_step=f"Write @{kind}: is or @{kind}: is| are"
            )
        return Positions("token" if kind == "token" else "before", tokens=texts)
    if word in ("all", "last", "rest"):
        return Positions(word)  # type: ignore[arg-type]
    if re.fullmatch(r"[+-]?\d{1,9}", word, re.ASCII):
        return Positions("number", int(word))
    hint = f"Write @token:{text} for the positions with this token" if word else "Leave out the @ for all positions"
    raise UsageError(f"@{text} names no positions ({_FORMS})", where=flag, next_step=hint)


def _matching(term: str, prompts: Sequence[PromptRecord], flag: str) -> set[str]:
    ids = {p.probe_id for p in prompts}
    if term in ids:
        return {term}
    name, equals, value = term.partition("=")
    if equals:
        _check_field(name, prompts, flag)
        return {p.probe_id for p in prompts if any(fnmatchcase(v, value) for v in _values(p.metadata.get(name)))}
    return {i for i in ids if fnmatchcase(i, term)}


def _check_field(name: str, prompts: Sequence[PromptRecord], flag: str) -> None:
    fields = list(dict.fromkeys(f for p in prompts for f in p.metadata))
    if name not in fields:
        what = f"the prompts have no field {name!r}"
        raise UsageError(what, where=flag, next_step=f"They have {', '.join(fields[:10]) or 'no field'}")


def _values(value: Any) -> list[str]:
    """A metadata value as texts; booleans and null as in JSON."""
    if isinstance(value, list):
        return [v for element in value for v in _values(element)]
    if value is None or isinstance(value, bool | dict):
        return [] if isinstance(value, dict) else [{None: "null", True: "true", False: "false"}[value]]
    return [str(value)]


def _no_match(term: str, prompts: Sequence[PromptRecord]) -> str:
    name, equals, _ = term.partition("=")
    if equals:
        found = list(dict.fromkeys(v for p in prompts for v in _values(p.metadata.get(name))))
        return f"no prompt has {term!r}; values of {name} are {', '.join(found[:8])}{', ...' if len(found) > 8 else ''}"
    return f"no prompt has the id or pattern {term!r} (ids are such as {', '.join(p.probe_id for p in prompts[:3])})"
