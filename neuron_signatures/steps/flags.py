"""Values of a configuration as flags of a stage."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError, shorten
from neuron_signatures.steps.stages import RESERVED


def keys_of(parser: Parser) -> dict[str, argparse.Action]:
    """The flags that a table can set, without their dashes."""
    actions = parser._option_string_actions
    return {name[2:]: action for name, action in actions.items() if name.startswith("--") and name[2:] not in RESERVED}


def refuse_unknown(key: str, known: Collection[str], where: str, *, next_step: str) -> None:
    """Raise `UsageError` with the nearest key unless the key is known."""
    if key in known:
        return
    if key in RESERVED:
        raise UsageError(f"the pipeline sets {key!r} itself", where=where, next_step="Leave it away")
    near = get_close_matches(key, known, n=1)
    what = f"unknown key {shorten(key, 80)!r}{f'; did you mean {near[0]}?' if near else ''}"
    raise UsageError(what, where=where, next_step=next_step)


def flags_of(parser: Parser, settings: Mapping[str, Any], *, where: str, next_step: str) -> list[str]:
    """The flags of these settings, in their order. Raises `UsageError` for keys and types that the stage has not.

    A list is given as several values, or with commas between them where the flag takes one value. `false` leaves a
    switch away.
    """
    known, flags = keys_of(parser), list[str]()
    for key, value in settings.items():
        refuse_unknown(key, known, where, next_step=next_step)
        flags += _flag(key, known[key], value, f"{where}: {key}")
    return flags


def _flag(key: str, action: argparse.Action, value: Any, where: str) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{value!r} is neither true nor false", where=where)
        return [f"--{key}"] if value else []
    if value is True and action.nargs == "?":
        return [f"--{key}"]
    if isinstance(value, list):
        texts = [_text(v, where) for v in value]
        if not texts:
            raise UsageError("the list is empty", where=where, next_step="Leave the key away")
        return [f"--{key}", *texts] if action.nargs == "+" else [f"--{key}={','.join(texts)}"]
    return [f"--{key}", _text(value, where)] if action.nargs == "+" else [f"--{key}={_text(value, where)}"]


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        raise UsageError(f"{str(value).lower()} is no value of this flag", where=where, next_step="Give a value")
    if isinstance(value, str | int | float):
        return str(value)
    kind = "a table" if isinstance(value, dict) else type(value).__name__
    raise UsageError(f"{kind} is no value of a flag", where=where, next_step="Give a text, a number or a list of them")
