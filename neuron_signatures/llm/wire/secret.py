"""A key that is never shown."""

from __future__ import annotations

import json

from neuron_signatures.runs.errors import UsageError

REDACTED = "[key]"
_SHORTEST = 8  # a shorter text is no secret, and may be part of any word
_NO_KEY = "none"


class Secret:
    """An API key. Its `repr` and `str` do not show it; `redact` removes it from texts of others."""

    __slots__ = ("_forms", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        in_json = json.dumps(value)[1:-1]
        self._forms = () if len(value) < _SHORTEST else tuple({value, in_json, in_json.replace("/", "\\/")})

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def reveal(self) -> str:
        return self._value

    def redact(self, text: str) -> str:
        """`text` without the key, also as JSON writes it."""
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text


def no_key() -> Secret:
    """What a server on this machine gets if there is no key: the header is required by some."""
    return Secret(_NO_KEY)


def checked_key(value: str, variable: str) -> Secret:
    """The key in an environment variable. Raises `UsageError`, without the key, for what no header can hold."""
    if not value.isascii() or not value.isprintable() or " " in value:
        what = "holds a space, a line break or another character that no key has"
        raise UsageError(what, where=f"environment variable {variable}", next_step="Set it to the key alone")
    return Secret(value)
