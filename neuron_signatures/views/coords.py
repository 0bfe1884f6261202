"""Neuron coordinates: `L17N5863` for display, and the spellings that users may type."""

from __future__ import annotations

import re
from typing import NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.run import Run

_SPELLINGS = (
    re.compile(r"L(?P<layer>\d{1,6})\s*N(?P<neuron>\d{1,9})", re.IGNORECASE | re.ASCII),
    re.compile(r"(?:(?P<model>.+)/)?(?P<layer>\d{1,6})\s*/\s*(?P<neuron>\d{1,9})", re.ASCII),
)


class NeuronAt(NamedTuple):
    """One neuron of a model."""

    layer: int
    neuron: int

    @property
    def label(self) -> str:
        return f"L{self.layer}N{self.neuron}"


def parse_neuron(text: str, run: Run) -> NeuronAt:
    """The neuron of `17/5863`, `L17N5863` or `gemma-2-2b/17/5863`. The model name may be given in full
    (`google/gemma-2-2b`).

    Raises `UsageError` for another spelling, another model, a layer that is not stored or a neuron out of range.
    """
    match = next((m for s in _SPELLINGS if (m := s.fullmatch(text.strip()))), None)
    if match is None:
        raise UsageError(f"{text[:60]!r} names no neuron", next_step="Type 17/5863, L17N5863 or MODEL/17/5863")
    model = match.groupdict().get("model")
    own = run.manifest.model_name.rstrip("/")
    if model is not None and model.casefold() not in (own.casefold(), own.rsplit("/", 1)[-1].casefold()):
        raise UsageError(f"{model[:60]!r} is another model, this run is of {own!r}")
    return check_neuron(run, NeuronAt(int(match["layer"]), int(match["neuron"])))


def check_neuron(run: Run, at: NeuronAt) -> NeuronAt:
    """`at` itself. Raises `UsageError` if the run does not store it."""
    check_layer(run, at.layer)
    if not 0 <= at.neuron < run.manifest.d_mlp:
        raise UsageError(f"there is no neuron {at.neuron}: 0..{run.manifest.d_mlp - 1}")
    return at


def check_layer(run: Run, layer: int) -> int:
    """`layer` itself. Raises `UsageError` if the run does not store it."""
    if layer not in run.layers:
        raise UsageError(f"layer {layer} is not stored: {spans(run.layers)}")
    return layer
