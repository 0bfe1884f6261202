"""Functional tokens: words that carry grammar rather than content, and the direction in which they point.

A token is classified by its string alone, stripped and in lower case. Functional tokens are the words of a dictionary
(default `functional_tokens.json`), tokens without a letter or digit, and special tokens such as `<bos>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input

Direction = Literal["forward", "backward", "both"]
WINDOW = 5

_SPECIAL = re.compile(
    r"<(bos|eos|pad|unk|mask|s|/s|start_of_turn|end_of_turn|unused\d+|\|[^<>]*\|)>|\[(cls|sep|pad|unk|mask)\]"
)
_SPACE_MARKS = str.maketrans({"▁": " ", "Ġ": " "})  # how some tokenizers write a space; format-1 runs contain them


def token_key(token: str) -> str:
    """The form in which tokens are compared: stripped and in lower case, the same for ` Austin` and `austin`."""
    return token.translate(_SPACE_MARKS).strip().lower()


@dataclass(frozen=True)
class FunctionalTokens:
    """A dictionary of functional tokens, key to direction; punctuation and special tokens point both ways."""

    directions: Mapping[str, Direction]
    source: str
    """File name, for records."""

    def direction(self, token: str) -> Direction | None:
        """The direction in which the token points; None for a semantic token."""
        key = token_key(token)
        found = self.directions.get(key)
        if found is not None:
            return found
        if not any(c.isalnum() for c in key) or _SPECIAL.fullmatch(key):
            return "both"
        return None

    def is_functional(self, token: str) -> bool:
        return self.direction(token) is not None

    def target(self, tokens: Sequence[str], pos: int, *, window: int = WINDOW) -> int | None:
        """Position of the nearest semantic token in the direction of the functional token at `pos`.

        With both directions, the later token wins at equal distance. None if there is none within `window`, or if the
        token at `pos` is semantic.
        """
        direction = self.direction(tokens[pos])
        if direction is None:
            return None
        steps = {"forward": (1,), "backward": (-1,), "both": (1, -1)}[direction]
        for distance in range(1, window + 1):
            for step in steps:
                at = pos + step * distance
                if 0 <= at < len(tokens) and not self.is_functional(tokens[at]):
                    return at
        return None


def default_functional_tokens() -> FunctionalTokens:
    """The default dictionary."""
    name = "functional_tokens.json"
    text = files("neuron_signatures.analysis.tokens").joinpath(name).read_text(encoding="utf-8")
    return FunctionalTokens(_checked(json.loads(text), name), "default")


def load_functional_tokens(path: Path | None) -> FunctionalTokens:
    """A dictionary from a JSON object of token to `forward`, `backward` or `both`; the default one for None.

    Raises `UsageError`.
    """
    if path is None:
        return default_functional_tokens()
    return FunctionalTokens(_checked(read_json_input(path), str(path)), path.name)


def _checked(raw: Any, where: str) -> dict[str, Direction]:
    if not isinstance(raw, dict) or not raw:
        next_step = 'Write {"is": "forward", ",": "both", ...}'
        raise UsageError("not a JSON object of token to direction", where=where, next_step=next_step)
    out: dict[str, Direction] = {}
    for token, direction in raw.items():
        key = token_key(token)
        if direction not in get_args(Direction):
            what = f"token {token!r} has the direction {str(direction)[:40]!r}, not forward, backward or both"
            raise UsageError(what, where=where)
        if not key:
            raise UsageError(f"token {token!r} is empty once stripped", where=where, next_step="Leave it out")
        if out.setdefault(key, direction) != direction:
            raise UsageError(f"token {key!r} has two directions", where=where, next_step="Tokens ignore case")
    return out
