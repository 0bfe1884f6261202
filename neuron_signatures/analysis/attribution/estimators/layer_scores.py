"""The scores of the layers that prob_increase has finished, stored so that an interrupted computation can resume."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.runs.partial import Partial

log = logging.getLogger(__name__)


class LayerScores:
    """Two scores of every neuron and one number of every layer; NaN in layers that are not `done`.

    Without a `partial`, nothing is stored.
    """

    def __init__(self, n_layers: int, n_neurons: int, partial: Partial | None) -> None:
        self._partial = partial
        self._scores = np.full((2, n_layers, n_neurons), np.nan, np.float32)
        self.of_layer = np.full(n_layers, np.nan)
        self.done = np.zeros(n_layers, np.bool_)

    def resume(self) -> None:
        """Take over the layers that an earlier process finished."""
        if self._partial is None:
            return
        stored = self._partial.load(max_bytes=self._scores.nbytes + (1 << 16), like=self._arrays())
        if stored:
            self._scores, self.of_layer, self.done = stored["scores"], stored["of_layer"], stored["done"]
            log.info("resuming with %d of %d layers done", self.done.sum(), len(self.done))

    def add(self, row: int, scores: Float[Tensor, "2 neuron"], of_layer: float) -> None:
        """Put in a finished layer, and store everything if it is time."""
        self._scores[:, row] = scores.float().cpu().numpy()
        self.of_layer[row], self.done[row] = of_layer, True
        if self._partial is not None:
            self._partial.save(self._arrays())

    def scores(self) -> Float[Tensor, "2 layer neuron"]:
        return torch.from_numpy(self._scores)

    @contextlib.contextmanager
    def save_on_error(self) -> Iterator[None]:
        """Store the finished layers if an exception ends the block."""
        if self._partial is None:
            yield
            return
        with self._partial.save_on_error(lambda: self._arrays() if self.done.any() else {}):
            yield

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"scores": self._scores, "of_layer": self.of_layer, "done": self.done}
