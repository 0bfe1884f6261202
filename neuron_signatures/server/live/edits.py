"""Edits of a request, checked: as changed cells of one text, and as hooks for generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.targets import resolve_pos
from neuron_signatures.api.live import EditMessage
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.edits import Edit, Kind
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.references import named_mean
from neuron_signatures.server.live.tokens import check_neuron

MAX_CELLS: Final = 500_000
"""Changed activations of one edited pass."""
FIRST_EDITED: Final = "position 0 is edited: it carries massive activations, and a change there can break the model"
_KINDS: Final[dict[str, Kind]] = {
    "zero": "ablate", "mean": "ablate", "set": "set", "add": "add", "scale": "scale", "flip": "flip",
}  # fmt: skip

# [layer neuron] -> the neuron that stands for it
Substitutes = Int[Tensor, "layer neuron"]


@dataclass(frozen=True)
class CheckedEdit:
    """a becomes factor · a + offset. `positions` None: everywhere; else non-negative. `means` are those of the layer,
    which an edit of kind mean sets."""

    message: EditMessage
    where: str
    neurons: Int[Tensor, " n"]
    positions: tuple[int, ...] | None
    factor: float
    offset: float
    means: Float[Tensor, " neuron"] | None

    def offsets(self, neurons: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Of these neurons."""
        return torch.full((len(neurons),), self.offset) if self.means is None else self.means[neurons]

    def hooked(self) -> Edit:
        """The same edit for generation."""
        kind, values = self.message.kind, self.offset
        if self.means is not None:
            of_each = tuple(self.offsets(self.neurons).tolist())
            return Edit(self.message.layer, tuple(self.neurons.tolist()), self.positions, "ablate", of_each)
        if kind == "scale":
            values = self.factor
        return Edit(self.message.layer, tuple(self.neurons.tolist()), self.positions, _KINDS[kind], values)


def check_edits(held: Held, edits: Sequence[EditMessage], length: int, stop: Stop) -> list[CheckedEdit]:
    """The edits of a text of `length` tokens.

    Raises `UsageError` for neurons that the model does not have or that are named twice, for positions outside the
    text, for a kind and fields that do not go together, and for a mean that is not known.
    """
    return [_checked(held, edit, f"edits[{i}]", length, stop) for i, edit in enumerate(edits)]


def edit_warnings(edits: Sequence[CheckedEdit]) -> list[str]:
    """A warning if the first position is edited."""
    return [FIRST_EDITED] if any(e.positions is None or 0 in e.positions for e in edits) else []


def changes_of(edits: Sequence[CheckedEdit], d_mlp: int, last: int, substitutes: Substitutes | None = None) -> Changes:
    """The changed cells up to position `last`, each once: edits of one cell are applied in their order.

    With `substitutes`, other neurons are changed in the same way (a mean is their own).
    """
    length, parts = last + 1, []
    for edit in edits:
        at = edit.neurons if substitutes is None else substitutes[edit.message.layer, edit.neurons]
        pos = torch.tensor([p for p in edit.positions or range(length) if p <= last])
        cells = (edit.message.layer * length + pos[:, None]) * d_mlp + at
        parts.append((cells.flatten(), edit.factor, edit.offsets(at).repeat(len(pos))))
    cells, which = torch.cat([c for c, *_ in parts]).unique(return_inverse=True)
    factor, offset = torch.ones(len(cells)), torch.zeros(len(cells))
    start = 0
    for own, times, plus in parts:
        rows = which[start : start + len(own)]
        factor[rows], offset[rows] = times * factor[rows], times * offset[rows] + plus
        start += len(own)
    return Changes(cells // (d_mlp * length), cells // d_mlp % length, cells % d_mlp, factor, offset)


def refuse_cells(edits: Sequence[CheckedEdit], last: int) -> None:
    """Raise `UsageError` for edits that only change what follows the target position, and for too many cells."""
    n = 0
    for edit in edits:
        own = last + 1 if edit.positions is None else sum(p <= last for p in edit.positions)
        if not own:
            what = f"its positions come after the target position, {last}: an edit there has no effect on it"
            raise UsageError(what, where=edit.where)
        n += own * len(edit.neurons)
    if n > MAX_CELLS:
        what = f"{n:,} activations (neurons times positions) are edited, more than {MAX_CELLS:,}"
        raise UsageError(what, where="edits", next_step="Edit fewer neurons, or give positions")


def _checked(held: Held, edit: EditMessage, where: str, length: int, stop: Stop) -> CheckedEdit:
    check_neuron(held, edit.layer, max(edit.neurons), where=where)
    if len(set(edit.neurons)) < len(edit.neurons):
        raise UsageError("a neuron is named twice", where=f"{where}.neurons")
    if (edit.kind == "mean") != (edit.reference_run is not None):
        what = "a mean needs a reference_run" if edit.kind == "mean" else f"reference_run is not used by {edit.kind}"
        raise UsageError(what, where=where, next_step='Give {"kind": "mean", "reference_run": NAME}')
    if edit.value and edit.kind not in ("set", "add", "scale"):
        raise UsageError(f"value is not used by {edit.kind}", where=where, next_step="Leave it out, or use set")
    neurons = torch.tensor(edit.neurons)
    positions = None
    if edit.positions is not None:
        positions = tuple(resolve_pos(p, length, where=f"{where}.positions") for p in edit.positions)
        if len(set(positions)) < len(positions):
            raise UsageError("a position is named twice", where=f"{where}.positions")
    means = None
    if edit.reference_run is not None:
        where_mean = f"{where}.reference_run"
        means = named_mean(held, edit.reference_run, stop, where=where_mean).mean.values[edit.layer]
        if not bool(means.isfinite().all()):
            what = f"the run does not have the mean of every neuron of layer {edit.layer}"
            raise UsageError(what, where=where_mean, next_step="Use a run that stores this layer, or records:NAME")
    factor = {"add": 1.0, "scale": edit.value, "flip": -1.0}.get(edit.kind, 0.0)
    offset = edit.value if edit.kind in ("set", "add") else 0.0
    return CheckedEdit(edit, where, neurons, positions, factor, offset, means)
