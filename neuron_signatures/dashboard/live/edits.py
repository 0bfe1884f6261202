"""What the page's inputs mean as edits: neurons, kinds and positions, as typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from neuron_signatures.api.live import EditKind, EditMessage
from neuron_signatures.api.models import ModelFacts
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.coords import NeuronAt

MOST_NEURONS = 2000
KINDS: tuple[EditKind, ...] = get_args(EditKind)
WITH_VALUE: tuple[EditKind, ...] = ("set", "add", "scale")
Where = Literal["later", "all", "here", "typed"]
_NEURON = re.compile(r"L?(?P<layer>\d{1,6})\s?[N/](?P<neuron>\d{1,9})[+-]?", re.IGNORECASE | re.ASCII)
_POSITION = re.compile(r"-?\d{1,6}", re.ASCII)


class Edit(NamedTuple):
    """An edit as it is typed. `positions` are only read if `where` is typed."""

    neurons: tuple[NeuronAt, ...]
    kind: EditKind
    value: float
    positions: tuple[int, ...] | None
    """None: all, also of new text."""
    reference_run: str | None

    def messages(self) -> list[EditMessage]:
        """One for each layer."""
        layers: dict[int, list[int]] = {}
        for at in self.neurons:
            layers.setdefault(at.layer, []).append(at.neuron)
        return [
            EditMessage(
                layer=layer, neurons=neurons, kind=self.kind, value=self.value if self.kind in WITH_VALUE else 0.0,
                positions=None if self.positions is None else list(self.positions),
                reference_run=self.reference_run if self.kind == "mean" else None,
            )
            for layer, neurons in sorted(layers.items())
        ]  # fmt: skip

    def text(self) -> str:
        """`zero L3N508, L4N178 at all positions`."""
        names = ", ".join(at.label for at in self.neurons[:6])
        more = f" and {len(self.neurons) - 6:,} more" if len(self.neurons) > 6 else ""
        value = f" {self.value:+g}" if self.kind in ("set", "add") else f" by {self.value:g}"
        what = f"{self.kind}{value if self.kind in WITH_VALUE else ''}"
        if self.positions is None:
            return f"{what}: {names}{more}, at all positions and in new text"
        return f"{what}: {names}{more}, at {_positions_text(self.positions)}"


def _positions_text(positions: Sequence[int]) -> str:
    """`position 3`, `positions 1 to 8`, `positions 1, 4`."""
    if len(positions) == 1:
        return f"position {positions[0]}"
    if list(positions) == list(range(positions[0], positions[-1] + 1)):
        return f"positions {positions[0]} to {positions[-1]}"
    return f"positions {', '.join(map(str, positions[:20]))}{' …' if len(positions) > 20 else ''}"


def parse_neurons(text: str, facts: ModelFacts) -> tuple[NeuronAt, ...]:
    """The distinct neurons of `L3N508, L4N178` or `3/508 4/178`. Raises `UsageError` for others, or none."""
    found: dict[NeuronAt, None] = {}
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        match = _NEURON.fullmatch(part)
        if match is None:
            raise UsageError(f"{part[:60]!r} names no neuron", next_step="Type neurons as L17N5863 or 17/5863")
        at = NeuronAt(int(match["layer"]), int(match["neuron"]))
        if at.layer >= facts.n_layers or at.neuron >= facts.d_mlp:
            range_ = f"layers 0..{facts.n_layers - 1}, neurons 0..{facts.d_mlp - 1}"
            raise UsageError(f"the live model has no {at.label}", next_step=f"It has {range_}")
        found[at] = None
    if not found:
        raise UsageError("no neuron is given", next_step="Type neurons as L17N5863, or choose one above")
    if len(found) > MOST_NEURONS:
        raise UsageError(f"{len(found):,} neurons are given", next_step=f"At most {MOST_NEURONS:,} can be edited here")
    return tuple(found)


def parse_positions(text: str, n_tokens: int) -> tuple[int, ...]:
    """The positions of `3, 5 -1`, sorted; negative ones count from the end. Raises `UsageError`."""
    found: set[int] = set()
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        if not _POSITION.fullmatch(part) or not -n_tokens <= int(part) < n_tokens:
            what = f"{part[:60]!r} is no position of this text"
            raise UsageError(what, next_step=f"Type positions from 0 to {n_tokens - 1}")
        found.add(int(part) % n_tokens)
    if not found:
        raise UsageError("no position is given", next_step=f"Type positions from 0 to {n_tokens - 1}, as 3, 5")
    return tuple(sorted(found))
