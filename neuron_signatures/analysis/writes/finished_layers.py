"""The finished layers of `--mode write_scores`, stored so that a stopped command goes on with the others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from neuron_signatures.runs.partial import Partial, stored_layers

_NAME = re.compile(r"L([0-9]{1,6})_(ids|scores|moments)")


@dataclass(frozen=True)
class LayerWrites:
    """One layer. Side 0 is promoted, side 1 suppressed; moments are mean, std, skewness, excess kurtosis."""

    ids: Int32[np.ndarray, "neuron 2 top"]
    scores: Float32[np.ndarray, "neuron 2 top"]
    moments: Float32[np.ndarray, "neuron 4"]


@dataclass(frozen=True)
class LayerShape:
    n_neurons: int
    top: int
    vocab: int

    def fits(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether these arrays can be those of a layer."""
        sides = (self.n_neurons, 2, self.top)
        want = {"ids": (sides, "int32"), "scores": (sides, "float32"), "moments": ((self.n_neurons, 4), "float32")}
        if {name: (a.shape, str(a.dtype)) for name, a in arrays.items()} != want:
            return False
        return bool(((arrays["ids"] >= 0) & (arrays["ids"] < self.vocab)).all())


class FinishedLayers:
    """The layers that this command, or an earlier one with the same settings, has finished."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self.done: dict[int, LayerWrites] = {}

    def resume(self, layers: Sequence[int], shape: LayerShape) -> None:
        """Take over the layers that an earlier process finished, if all of them have this shape."""
        per_layer = shape.n_neurons * (2 * shape.top * 8 + 16) + 4096
        found = stored_layers(
            self._partial, _NAME, layers, of="model", max_bytes=len(layers) * per_layer, fits=shape.fits
        )
        self.done = {layer: LayerWrites(**arrays) for layer, arrays in found.items()}

    def add(self, layer: int, writes: LayerWrites) -> None:
        """Keep a finished layer, and store all if it is time."""
        self.done[layer] = writes
        self._partial.save(self._arrays())

    @contextlib.contextmanager
    def save_on_error(self) -> Iterator[None]:
        """Store the finished layers if an exception ends the block."""
        with self._partial.save_on_error(self._arrays):
            yield

    def remove(self) -> None:
        self._partial.remove()

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            f"L{layer}_{name}": array for layer, writes in self.done.items() for name, array in vars(writes).items()
        }
