"""Which position of a source prompt corresponds to which of the destination.

The prompts are compared token by token. What they share at their start has the same activations in both (attention is
causal), so nothing is patched there. What differs is the entity, aligned at its last token; what they share at their
end is aligned from the end. Prompts of equal length are aligned position by position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.runs.errors import UsageError

# `entity` and `last`, and positions that are counted back from one of them: `entity-1`, `last-2`.
_ROLE: Final = re.compile(r"(entity|last)(?:-(\d{1,6}))?")
THAT_MATTER: Final = ("entity", "last")


@dataclass(frozen=True)
class Alignment:
    """`pairs` are (position in the destination, in the source), ascending, without the shared start.

    `destination_entity` and `source_entity` are the last positions in which the prompts differ before the shared end,
    or -1 if one of them has nothing there (words were only added).
    """

    pairs: tuple[tuple[int, int], ...]
    destination_entity: int
    source_entity: int
    n_destination: int
    n_source: int
    n_shared: int
    """Tokens at the start that are the same in both; the activations there are the same too."""

    def role_of(self, pos: int) -> str:
        """The name of a position of the destination: counted back from the entity up to it, from the end after it."""
        if pos <= self.destination_entity:
            return _name("entity", self.destination_entity - pos)
        return _name("last", self.n_destination - 1 - pos)

    def at(self, role: str) -> tuple[int, int] | None:
        """Positions of a role in the destination and the source; None if one of them does not have it."""
        match = _ROLE.fullmatch(role)
        assert match is not None, role
        back = int(match[2] or 0)
        if match[1] == "entity":
            found = (self.destination_entity - back, self.source_entity - back)
            ok = min(self.destination_entity, self.source_entity) >= 0
        else:
            found, ok = (self.n_destination - 1 - back, self.n_source - 1 - back), True
        return found if ok and found in self.pairs else None


def align(destination: Prompt, source: Prompt, *, where: str) -> Alignment:
    """Raises `UsageError` if the token sequences are equal or have no tokens in common by which to align them."""
    a, b = destination.token_ids, source.token_ids
    if a == b:
        raise UsageError("the source is the same text as the destination: nothing differs", where=where)
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    if len(a) == len(b):
        pairs = [(i, i) for i in range(start, len(a))]
    else:
        special = max(destination.n_special, source.n_special)
        if not end and start <= special:
            what = f"it has {len(b)} tokens, the destination {len(a)}, and they have neither start nor end in common"
            raise UsageError(what, where=where, next_step="Use a source of the same form, with another entity")
        inside = min(len(a), len(b)) - start
        pairs = [(len(a) - i, len(b) - i) for i in range(inside, 0, -1)]
    of_a = len(a) - end - 1 if len(a) - end > start else -1
    of_b = len(b) - end - 1 if len(b) - end > start else -1
    pairs = [(i, j) for i, j in pairs if i > 0 and j > 0]
    return Alignment(tuple(pairs), of_a, of_b, len(a), len(b), start)


def same_positions(n: int) -> Alignment:
    """A prompt aligned with itself, at every position but the first."""
    return Alignment(tuple((i, i) for i in range(1, n)), -1, -1, n, n, 0)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _name(what: str, back: int) -> str:
    return f"{what}-{back}" if back else what
