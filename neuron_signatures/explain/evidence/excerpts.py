"""Excerpts: the part of a window around a position, with the activations of one pole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Tokens of a window around `pos`. `acts` are those of the pole: positive where the neuron has the pole's sign."""

    window: int
    document: int
    tokens: tuple[str, ...]
    acts: Float32[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]
    """Whether the activation at a position counts; others are context, and their activations are not shown."""
    pos: int
    """The position that it was cut around."""
    folded: tuple[int, ...] = ()
    """Further windows whose excerpt has this text."""

    @property
    def largest(self) -> float:
        """The largest activation at a position that counts; 0 without one."""
        return float(self.acts[self.counts].max(initial=0.0))

    @property
    def windows(self) -> tuple[int, ...]:
        """All windows that it stands for."""
        return (self.window, *self.folded)

    @property
    def text(self) -> str:
        """Raw."""
        return "".join(self.tokens)

    def levels(self, largest: float) -> Int64[np.ndarray, " pos"]:
        """`floor(10 · relu(act) / largest)` at each position; -1 where positions do not count."""
        acts = np.maximum(self.acts.astype(np.float64), 0.0)
        levels = np.floor(10 * acts / largest) if largest > 0 else np.zeros(len(acts))
        return np.where(self.counts, np.minimum(levels, 10), -1).astype(np.int64)


def cut(text: Text, pos: int, *, before: int, after: int) -> Excerpt:
    """The tokens from `before` to the left of `pos` to `after` to its right."""
    part = slice(max(pos - before, 0), pos + after + 1)
    return Excerpt(text.window, text.document, text.tokens[part], text.acts[part], text.counts[part], pos - part.start)


def fold(excerpts: Iterable[Excerpt]) -> list[Excerpt]:
    """One excerpt for those of equal text up to white space with the same token at `pos`: the first of them.

    A corpus repeats headings and licences, and the same text ten times is evidence of one text.
    """
    found: dict[tuple[str, str], Excerpt] = {}
    for excerpt in excerpts:
        first = found.get(key := folded_text(excerpt))
        found[key] = excerpt if first is None else replace(first, folded=(*first.folded, *excerpt.windows))
    return list(found.values())


def folded_text(excerpt: Excerpt) -> tuple[str, str]:
    """Equal for excerpts that `fold` takes as one."""
    return " ".join(excerpt.text.split()), excerpt.tokens[excerpt.pos].strip()


def largest_of(excerpts: Iterable[Excerpt]) -> float:
    """The largest activation in any of them; 0 without one."""
    return max((e.largest for e in excerpts), default=0.0)
