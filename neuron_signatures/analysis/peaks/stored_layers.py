"""The finished layers of `--mode peaks`, stored so that a stopped command goes on with the others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuron_signatures.runs.partial import Partial, stored_layers

_NAME = re.compile(r"L([0-9]{1,6})_(\w+)")
_NONFINITE = "nonfinite_of_prompts"
_MOST_COLUMNS = 64


class LayerResult(NamedTuple):
    """One layer's columns, and the number of non-finite values of each prompt."""

    columns: dict[str, np.ndarray]
    nonfinite: list[int]


@dataclass(frozen=True)
class LayerForm:
    """What every layer of a run has: columns of the names and kinds of `like`, `n_neurons` rows, `n_prompts` prompts.

    `limits` are the columns of codes, which are from -1 to below the limit.
    """

    like: Mapping[str, np.ndarray]
    limits: Mapping[str, int]
    n_neurons: int
    n_prompts: int

    def fits(self, layer: Mapping[str, np.ndarray]) -> bool:
        """Whether these arrays can be those of a layer of the run."""
        kinds = {name: array.dtype.kind for name, array in layer.items()}
        if kinds != {**{name: array.dtype.kind for name, array in self.like.items()}, _NONFINITE: "i"}:
            return False
        sizes = {name: self.n_prompts if name == _NONFINITE else self.n_neurons for name in layer}
        if any(array.shape != (sizes[name],) for name, array in layer.items()):
            return False
        return all(((layer[name] >= -1) & (layer[name] < limit)).all() for name, limit in self.limits.items())


class StoredLayers:
    """The finished layers of one command. Without a `partial`, nothing is stored."""

    def __init__(self, partial: Partial | None) -> None:
        self._partial = partial
        self.done: dict[int, LayerResult] = {}

    def resume(self, layers: list[int], form: LayerForm) -> None:
        """Take over the layers that an earlier process finished, if all of them have this form."""
        if self._partial is None:
            return
        per_layer = _MOST_COLUMNS * (8 * form.n_neurons + 1024) + 8 * form.n_prompts
        found = stored_layers(self._partial, _NAME, layers, of="run", max_bytes=len(layers) * per_layer, fits=form.fits)
        self.done = {layer: LayerResult(a, a.pop(_NONFINITE).tolist()) for layer, a in found.items()}

    def add(self, layer: int, result: LayerResult) -> None:
        """Keep a finished layer, and store all if it is time."""
        self.done[layer] = result
        if self._partial is not None:
            self._partial.save(self._arrays())

    @contextlib.contextmanager
    def save_on_error(self) -> Iterator[None]:
        """Store the finished layers if an exception ends the block."""
        with self._partial.save_on_error(self._arrays) if self._partial else contextlib.nullcontext():
            yield

    def _arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for layer, result in self.done.items():
            columns = {**result.columns, _NONFINITE: np.array(result.nonfinite, np.int64)}
            found.update({f"L{layer}_{name}": array for name, array in columns.items()})
        return found
