"""Positions of prompts of one template that have the same role.

A template is a common beginning, an entity, and a common end. The entity is aligned from its end, since the model has
read all of it at its last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from neuron_signatures.runs.errors import UsageError

NO_TEMPLATE: Final = "the prompts have no more than their first token in common"


class Span(NamedTuple):
    """What prompts have in common: their first `start` and their last `end` tokens."""

    start: int
    end: int

    @property
    def is_template(self) -> bool:
        """Whether more than the first token, which is often the same in all prompts, is common."""
        return self.end > 0 or self.start > 1


class Pair(NamedTuple):
    """Positions of two prompts with the same role."""

    a: int
    b: int


def align(tokens_a: Sequence[int], tokens_b: Sequence[int]) -> list[Pair]:
    """The aligned positions of two prompts, given as token ids, in order.

    Of entities of different lengths, the tokens that only the longer one has, at its beginning, are in no pair.
    """
    start, end = common_span([tokens_a, tokens_b])
    shared = min(len(tokens_a), len(tokens_b)) - start - end
    first = [Pair(i, i) for i in range(start)]
    last = [Pair(len(tokens_a) - i, len(tokens_b) - i) for i in range(end + shared, 0, -1)]
    return first + last


def common_span(prompts: Sequence[Sequence[int]]) -> Span:
    """The longest common beginning of all prompts, then the longest common end of what is left of each."""
    shortest = min(map(len, prompts))
    start = _n_equal([tokens[:shortest] for tokens in prompts])
    left = shortest - start
    end = _n_equal([tokens[len(tokens) - left :][::-1] for tokens in prompts])
    return Span(start, end)


def roles(prompts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """The role of every position of every prompt: `start+0` is the first token, `entity-1` the last one of the
    entity, `end-1` the last one of the prompt.

    Equal prompts have only a beginning. Raises `UsageError` if the prompts have no more than the first token in common.
    """
    span = common_span(prompts)
    if not span.is_template:
        raise UsageError(NO_TEMPLATE, next_step="Give prompts of one template, which differ only in one entity")
    return [_roles(len(tokens), span) for tokens in prompts]


def _roles(n: int, span: Span) -> tuple[str, ...]:
    inside = n - span.start - span.end
    return (
        *(f"start+{i}" for i in range(span.start)),
        *(f"entity-{i}" for i in range(inside, 0, -1)),
        *(f"end-{i}" for i in range(span.end, 0, -1)),
    )


def _n_equal(sequences: Sequence[Sequence[int]]) -> int:
    columns = zip(*sequences, strict=True)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), len(sequences[0]))
