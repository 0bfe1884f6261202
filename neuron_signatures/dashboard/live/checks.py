"""Whether an answer of the server can be what it says, so that a wrong one is one line and never a crash.

The messages check types and that numbers are finite; these checks are those that need the request or the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from neuron_signatures.api.base import MAX_LISTED, MAX_TOKENS
from neuron_signatures.api.live import (
    ActivationsAnswer,
    Chance,
    GenerateAnswer,
    InfluenceAnswer,
    InterveneAnswer,
    NextTokenAnswer,
    Token,
)
from neuron_signatures.api.models import ModelFacts
from neuron_signatures.runs.errors import EnvironmentProblem

_LARGEST = 1 << 62
_MOST_ENTRIES = 1_000_000
_NEXT_STEP = "The server may be of another version; restart it"


class BadAnswer(EnvironmentProblem):
    """An answer that contradicts itself or the request."""


def check_numbers(answer: BaseModel) -> None:
    """Raises `BadAnswer` if an integer is too large for a table, or a list is too long."""
    left = _MOST_ENTRIES
    stack: list[Any] = [answer.model_dump()]
    while stack:
        value = stack.pop()
        left -= 1
        _require(left > 0, "has too many entries")
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            _require(len(value) <= _MOST_ENTRIES, "has too many entries")
            stack.extend(value)
        elif isinstance(value, int):
            _require(abs(value) <= _LARGEST, "has a number that is too large")


def check_answer(answer: BaseModel, model: ModelFacts) -> None:
    """Raises `BadAnswer` if the answer is not about a text and neurons of this model."""
    check_numbers(answer)
    if isinstance(answer, NextTokenAnswer):
        _tokens(answer.tokens)
        _position(answer.pos, answer.tokens)
        _chances([*answer.top, *answer.asked])
    elif isinstance(answer, ActivationsAnswer):
        _tokens(answer.tokens)
        _neurons([*answer.neurons, *answer.top], model)
        for top in answer.top:
            _position(top.pos, answer.tokens)
        _require(all(len(n.acts) == len(answer.tokens) for n in answer.neurons), "has activations without a token")
    elif isinstance(answer, InfluenceAnswer):
        _tokens(answer.tokens)
        _neurons(answer.rows, model)
        for row in answer.rows:
            _position(row.pos, answer.tokens)
        _chances([answer.on.target, *([answer.on.foil] if answer.on.foil else [])])
        _require(answer.share_shown is None or 0 <= answer.share_shown <= 1.001, "has a share that is not one")
    elif isinstance(answer, InterveneAnswer):
        _tokens(answer.tokens)
        for side in (answer.before, answer.after):
            _position(side.pos, answer.tokens)
            _chances([side.target, *([side.foil] if side.foil else [])])
        _chances([*answer.top_before, *answer.top_after])
        p = None if answer.controls is None else answer.controls.p
        _require(p is None or 0 <= p <= 1, "has a p that is not one")
    elif isinstance(answer, GenerateAnswer):
        _require(len(answer.prompt) <= MAX_TOKENS, "has too many tokens")


def _tokens(tokens: Sequence[Token]) -> None:
    _require(0 < len(tokens) <= MAX_TOKENS, "has no tokens, or too many")
    _require([t.pos for t in tokens] == list(range(len(tokens))), "has tokens at wrong positions")


def _position(pos: int, tokens: Sequence[Token]) -> None:
    _require(0 <= pos < len(tokens), "has a position outside the text")


def _neurons(rows: Iterable[Any], model: ModelFacts) -> None:
    known = all(0 <= r.layer < model.n_layers and 0 <= r.neuron < model.d_mlp for r in rows)
    _require(known, "names a neuron that the model does not have")


def _chances(chances: Sequence[Chance]) -> None:
    _require(len(chances) <= 2 * MAX_LISTED, "has too many tokens")
    _require(all(0 <= c.prob <= 1.001 and c.rank >= 0 for c in chances), "has a probability that is not one")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise BadAnswer(f"the server's answer {what}", next_step=_NEXT_STEP)
