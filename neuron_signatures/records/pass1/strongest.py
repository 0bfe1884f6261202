"""The strongest positions of the neurons of one layer, kept while a corpus streams by.

Lists merge exactly: a document enters once, complete, with its largest value; of entries with the same context the
largest stays; then the first k. Ties go to the earliest window. An entry that is dropped has k others before it, or one
with the same context, and those can only be replaced by entries that are before it too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int
from torch import Tensor

_LATEST = (1 << 32) - 1
_EMPTY = (-torch.inf, -1, 0, 0)
"""What a list holds where it has no entry."""


class Entries(NamedTuple):
    """Candidates for the lists: per document (rows) and neuron, its largest value; -inf where there is none."""

    value: Float32[Tensor, "document neuron"]
    window: Int[Tensor, "document neuron"]
    pos: Int[Tensor, "document neuron"]
    context: Int[Tensor, "document neuron"]


class TopLists:
    """The k largest values of each neuron, with room for candidates, which are sorted in when it is full."""

    def __init__(self, n_neurons: int, k: int, device: torch.device | str = "cpu") -> None:
        self.k, self._room = k, max(16, k // 2)
        size = (n_neurons, k + self._room)
        self.value = torch.full(size, -torch.inf, device=device)
        self.window = torch.full(size, -1, dtype=torch.int32, device=device)
        self.pos = torch.zeros(size, dtype=torch.int16, device=device)
        self.context = torch.zeros(size, dtype=torch.int64, device=device)
        self._filled = torch.zeros(n_neurons, dtype=torch.int64, device=device)
        self.threshold = torch.full((n_neurons,), -torch.inf, device=device)
        """Smaller values cannot enter; equal ones can, because ties go to the earliest window."""

    def add(self, new: Entries) -> None:
        """Add candidates; those below the threshold are ignored. -0.0 must not occur."""
        for start in range(0, len(new.value), self._room):
            self._add(Entries(*(part[start : start + self._room] for part in new)))

    def restore(self, kept: Entries) -> None:
        """Take over lists that `compact` left, axes `neuron rank`, instead of what is there."""
        for name, part in zip(Entries._fields, kept, strict=True):
            getattr(self, name)[:, : self.k] = part
        self._filled = (kept.value > -torch.inf).sum(1)
        self.threshold = self.value[:, self.k - 1].clone()

    def _add(self, new: Entries) -> None:
        taken = (new.value >= self.threshold) & (new.value > -torch.inf)
        if not taken.any():
            return
        counts = taken.sum(0)
        if bool((self._filled + counts > self.value.shape[1]).any()):
            self.compact()
        document, neuron = taken.nonzero(as_tuple=True)
        at = (self._filled + taken.cumsum(0) - 1)[document, neuron]
        for name, part in zip(Entries._fields, new, strict=True):
            kept: Tensor = getattr(self, name)
            kept[neuron, at] = part[document, neuron].to(kept.dtype)
        self._filled += counts

    def compact(self) -> None:
        """Sort the lists, strongest first, and drop what does not belong to the first k."""
        bits = self.value.view(torch.int32)
        values = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the same order
        key = (values << 32) + (_LATEST - self.window.long())
        order = key.masked_fill_(self.value == -torch.inf, torch.iinfo(torch.int64).min).argsort(1, descending=True)
        ordered = Entries(*(getattr(self, name).gather(1, order) for name in Entries._fields))
        _drop_repeated(ordered)
        for name, part, empty in zip(Entries._fields, ordered, _EMPTY, strict=True):
            kept: Tensor = getattr(self, name)
            kept[:, : self.k] = part[:, : self.k]
            kept[:, self.k :] = empty
        self._filled = (self.value > -torch.inf).sum(1)
        self.threshold = self.value[:, self.k - 1].clone()  # -inf of a list that is not full


def _drop_repeated(ordered: Entries) -> None:
    """Drop entries whose context an earlier entry of the list has; axes `neuron entry`, strongest first.

    Lists are sorted by context once to find those with a repeated one, and only these are changed.
    """
    there = ordered.value > -torch.inf
    context = ordered.context.sort(dim=1).values
    same = (context[:, 1:] == context[:, :-1]) & (context[:, 1:] != 0)  # 0 where there is no entry
    rows = (same.any(1) | (there & (ordered.context == 0)).any(1)).nonzero()[:, 0]
    if not len(rows):
        return
    stays = there[rows] & ~_repeated(ordered.context[rows])
    order = stays.byte().argsort(dim=1, descending=True, stable=True)
    for part, empty in zip(ordered, _EMPTY, strict=True):
        part[rows] = part[rows].masked_fill(~stays, empty).gather(1, order)


def _repeated(context: Int[Tensor, "neuron entry"]) -> Tensor:
    """Whether an earlier entry of the row has the same context."""
    same, order = context.sort(dim=1, stable=True)
    again = torch.zeros_like(same, dtype=torch.bool)
    again[:, 1:] = same[:, 1:] == same[:, :-1]
    return torch.zeros_like(again).scatter_(1, order, again)
