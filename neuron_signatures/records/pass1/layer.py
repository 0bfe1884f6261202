"""What the first pass keeps of one layer, and how a batch of activations enters it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from neuron_signatures.records.pass1.bins import N_MAGNITUDES, columns
from neuron_signatures.records.pass1.plan import Batch, BlockPlan, Group, Rows, Slab, joined, to_device
from neuron_signatures.records.pass1.strongest import Entries, TopLists
from neuron_signatures.runs.records.names import PARTS, POLES

N_POWERS = 4
_LARGE = float(1 << 30)
"""Magnitude from which the fourth power overflows in float32 sums, so that they are made in float64."""
_ONE_BY_ONE = ("cpu",)
"""Devices on which the windows of a batch are summed one by one."""
_VALUES_AT_ONCE = 1 << 27
_GATHER_BELOW = 0.1
"""Share of windows and neurons that can enter a list, below which positions are looked up one by one."""


class _Extrema(NamedTuple):
    """Of each window of a slab, or document of a block, and neuron: the largest value times the pole's sign."""

    value: Float32[Tensor, "row neuron"]
    pos: Int[Tensor, "row neuron"]


class _Range(NamedTuple):
    """Which windows of a group are finite, and the type in which sums of powers of these do not overflow."""

    finite: Bool[np.ndarray, " row"]
    dtype: torch.dtype


class LayerRecords:
    """Lists per part and pole, sums of powers per part, and histograms per part, of all neurons of one layer."""

    def __init__(self, n_neurons: int, top_k: int, device: torch.device) -> None:
        self.device = device
        self.lists = [[TopLists(n_neurons, top_k, device) for _ in POLES] for _ in PARTS]
        self.sums = torch.zeros(len(PARTS), N_POWERS, n_neurons, dtype=torch.float64, device=device)
        self.count = torch.zeros(len(PARTS), dtype=torch.int64)
        self.histogram = torch.zeros(len(PARTS), n_neurons, 2 * N_MAGNITUDES, dtype=torch.int32, device=device)
        self.left_out = 0
        """Windows with a value that is NaN or infinite."""
        self._first_column = torch.arange(n_neurons, device=device) * (2 * N_MAGNITUDES)
        self._slab: list[_Extrema] = []
        self._best: list[Entries] = []

    def begin_block(self, plan: BlockPlan) -> None:
        self._best = [self._no_entries(plan.n_documents) for _ in POLES]

    def begin_slab(self, slab: Slab) -> None:
        size = (len(slab.windows), self.sums.shape[2])
        self._slab = [
            _Extrema(
                torch.full(size, -torch.inf, device=self.device),
                torch.zeros(size, dtype=torch.int16, device=self.device),
            )
            for _ in POLES
        ]

    def add_batch(self, plan: BlockPlan, batch: Batch, acts: Float[Tensor, "row pos neuron"]) -> None:
        """Add the activations of a batch. Statistics are of their float32 values."""
        parts, counted = plan.parts(batch.windows), plan.in_histogram(batch.windows)
        one_by_one = self.device.type in _ONE_BY_ONE
        for rows in map(_rows_of, batch.groups) if one_by_one else joined(batch.groups):
            members = slice(rows.start, rows.stop)
            first, end = int(rows.first.min()), int(rows.end.max())
            piece = acts[members, first:end]
            shown = None
            if (rows.first != first).any() or (rows.end != end).any():
                at = np.arange(first, end)
                shown = to_device((at >= rows.first[:, None]) & (at < rows.end[:, None]), self.device)
            found = self._add_extrema(plan, batch, rows, piece, parts[members], shown)
            if one_by_one:
                self._add_sums(piece, parts[members], found, counted[members])
            else:
                self._add_sums_together(piece, parts[members], found, counted[members], rows, shown)

    def end_slab(self, plan: BlockPlan, slab: Slab) -> None:
        """Reduce the windows to their documents."""
        order = np.lexsort((slab.windows, plan.documents(slab.windows)))
        documents, windows = plan.documents(slab.windows)[order], slab.windows[order]
        starts = np.flatnonzero(np.diff(documents, prepend=-1))
        nth = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        for n in range(nth.max() + 1):  # the first window of every document, then the second, ...
            rows = nth == n
            for best, found in zip(self._best, self._slab, strict=True):
                self._merge(best, documents[rows], windows[rows], found, order[rows])
        self._slab = []

    def end_block(self, plan: BlockPlan) -> None:
        """Add the documents to the lists."""
        contexts = to_device(plan.contexts, self.device)
        for pole, best in enumerate(self._best):
            window = (best.window.long() - plan.block.first_window).clamp_min(0)
            entries = best._replace(context=contexts[window, best.pos.long()])
            for part in range(len(PARTS)):
                members = to_device(np.flatnonzero(plan.document_parts == part), self.device)
                if len(members):
                    self.lists[part][pole].add(Entries(*(x[members] for x in entries)))
        self._best = []

    def compact(self) -> None:
        for of_part in self.lists:
            for lists in of_part:
                lists.compact()

    def _add_extrema(
        self, plan: BlockPlan, batch: Batch, of: Rows, piece: Float[Tensor, "row pos neuron"], parts: np.ndarray,
        shown: Bool[Tensor, "row pos"] | None,
    ) -> _Range:  # fmt: skip
        """Store the extrema that can enter a list. `shown` are the positions that count, None if all do."""
        finite = np.ones(len(piece), dtype=bool)
        extremes = _shown(piece, shown, -torch.inf).amax(1), _shown(piece, shown, torch.inf).amin(1)
        found = [extremes[0].float(), -extremes[1].float()]
        large = not all(float(x.amax()) < _LARGE for x in found)  # of NaN too
        if large:
            finite = torch.isfinite(found[0]).all(1).logical_and(torch.isfinite(found[1]).all(1)).cpu().numpy()
            self.left_out += int((~finite).sum())
            large = bool((torch.stack(found).amax((0, 2)).cpu().numpy()[finite] >= _LARGE).any())
        rows = slice(batch.rows.start + of.start, batch.rows.start + of.stop)
        for pole, (value, slab) in enumerate(zip(found, self._slab, strict=True)):
            bound = torch.stack([of_part[pole].threshold for of_part in self.lists])
            enters = value >= bound[to_device(parts, self.device)]
            if not finite.all():
                enters &= to_device(finite, self.device)[:, None]
            slab.value[rows] = torch.where(enters, value + 0.0, -torch.inf)  # -0.0 becomes 0.0
            _find_positions(piece, shown, extremes[pole], enters, slab.pos[rows], int(of.first.min()) - plan.offset)
        return _Range(finite, torch.float64 if large else torch.float32)

    def _add_sums(
        self,
        piece: Float[Tensor, "row pos neuron"],
        parts: np.ndarray,
        found: _Range,
        counted: Bool[np.ndarray, " row"],
    ) -> None:
        """Sums of powers over a window in float32 (float64 of very large values), over windows in float64.

        Row by row, so that values stay in the cache of a CPU.
        """
        for row in np.flatnonzero(found.finite):
            values, part = piece[row].to(found.dtype), parts[row]
            self.sums[part] += _powers(values, 0).double()
            self.count[part] += len(values)
            if counted[row]:
                self._add_columns(columns(values) + self._first_column, int(part), None)

    def _add_sums_together(
        self, piece: Float[Tensor, "row pos neuron"], parts: np.ndarray, found: _Range,
        counted: Bool[np.ndarray, " row"], of: Rows, shown: Bool[Tensor, "row pos"] | None,
    ) -> None:  # fmt: skip
        """As `_add_sums`, in few operations: on a GPU each of them takes some microseconds, however small."""
        if not found.finite.all():
            finite = to_device(found.finite, self.device)[:, None].expand(piece.shape[:2])
            shown = finite if shown is None else shown & finite
        lengths = (of.end - of.first) * found.finite
        self.count += torch.from_numpy(np.bincount(parts, lengths, len(PARTS)).astype(np.int64))
        of_part = to_device((parts == np.arange(len(PARTS))[:, None]).astype(np.float64), self.device)
        n = max(1, _VALUES_AT_ONCE // (piece.shape[1] * piece.shape[2]))
        for start in range(0, len(piece), n):
            rows = slice(start, start + n)
            values = _shown(piece[rows].to(found.dtype), None if shown is None else shown[rows], 0.0)
            self.sums += torch.einsum("pr,krn->pkn", of_part[:, rows], _powers(values, 1).double())
        if len(drawn := np.flatnonzero(counted & found.finite)):
            index = to_device(drawn, self.device)
            first = to_device(parts[drawn] * self.histogram[0].numel(), self.device)[:, None, None]
            places = columns(piece[index].to(found.dtype)) + self._first_column + first
            self._add_columns(places, 0, None if shown is None else shown[index])

    def _add_columns(self, places: Int[Tensor, "..."], part: int, shown: Bool[Tensor, "row pos"] | None) -> None:
        """Count the places in the histograms from that of the part on; those that are not shown add 0."""
        ones = torch.ones((), dtype=torch.int32, device=self.device) if shown is None else shown.int()[..., None]
        self.histogram[part:].view(-1).scatter_add_(0, places.reshape(-1), ones.expand(places.shape).reshape(-1))

    def _merge(
        self, best: Entries, documents: np.ndarray, windows: np.ndarray, found: _Extrema, rows: np.ndarray
    ) -> None:
        """Take over what is larger than the documents' values so far, or equal and in an earlier window."""
        at, of = (to_device(x, self.device) for x in (documents, rows))
        window = to_device(windows.astype(np.int32), self.device)[:, None]
        value, old = found.value[of], best.value[at]
        better = (value > old) | ((value == old) & (window < best.window[at]))
        best.value[at] = torch.where(better, value, old)
        best.window[at] = torch.where(better, window, best.window[at])
        best.pos[at] = torch.where(better, found.pos[of], best.pos[at])

    def _no_entries(self, n: int) -> Entries:
        """Without contexts, which `end_block` adds: they would take almost half of the memory."""
        size, device = (n, self.sums.shape[2]), self.device
        return Entries(
            torch.full(size, -torch.inf, device=device),
            torch.full(size, -1, dtype=torch.int32, device=device),
            torch.zeros(size, dtype=torch.int16, device=device),
            torch.zeros((), dtype=torch.int64, device=device).expand(size),
        )


def _rows_of(group: Group) -> Rows:
    n = group.stop - group.start
    return Rows(group.start, group.stop, np.full(n, group.first), np.full(n, group.end))


def _shown(
    piece: Float[Tensor, "row pos neuron"], shown: Bool[Tensor, "row pos"] | None, otherwise: float
) -> Float[Tensor, "row pos neuron"]:
    return piece if shown is None else piece.masked_fill(~shown[..., None], otherwise)


def _powers(values: Float[Tensor, "..."], positions: int) -> Float[Tensor, "power ..."]:
    """Sums of the first four powers over the axis of the positions."""
    square = values * values
    sums = (x.sum(positions) for x in (values, square, square * values, square * square))
    return torch.stack(tuple(sums))


def _find_positions(
    piece: Float[Tensor, "row pos neuron"], shown: Bool[Tensor, "row pos"] | None,
    extreme: Float[Tensor, "row neuron"], enters: Bool[Tensor, "row neuron"], pos: Int[Tensor, "row neuron"],
    first: int,
) -> None:  # fmt: skip
    """Write the earliest position of the extreme value, plus `first`, into `pos` where `enters`."""
    row, neuron = enters.nonzero(as_tuple=True)
    if len(row) > _GATHER_BELOW * enters.numel():
        n = piece.shape[1]
        # Comparing and taking a maximum of small integers is 2.4 times as fast as `argmax` over an inner axis.
        dtype = torch.uint8 if n <= torch.iinfo(torch.uint8).max else torch.int16
        from_end = torch.arange(n, 0, -1, dtype=dtype, device=piece.device)[:, None]
        at_once = 1 if piece.device.type in _ONE_BY_ONE else len(piece)
        for start in range(0, len(piece), at_once):
            rows = slice(start, start + at_once)
            same = piece[rows] == extreme[rows, None]
            if shown is not None:
                same &= shown[rows, :, None]
            found = same.to(dtype).mul_(from_end).amax(1)
            pos[rows] = first + n - found.to(pos.dtype)
    elif len(row):
        same = piece[row, :, neuron] == extreme[row, neuron][:, None]
        if shown is not None:
            same &= shown[row]
        pos[row, neuron] = (same.to(torch.uint8).argmax(1) + first).to(pos.dtype)
