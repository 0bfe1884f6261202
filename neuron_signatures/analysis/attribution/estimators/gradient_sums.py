"""The gradients that integrated gradients has summed so far, stored so that an interrupted computation can resume."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from neuron_signatures.runs.partial import Partial

log = logging.getLogger(__name__)


class GradientSums:
    """The sum of the gradients at the points of each path, and the number of these points.

    A path has rows of the layers of its own. Without a `partial`, nothing is stored.
    """

    def __init__(self, shape: Sequence[int], n_paths: int, partial: Partial | None) -> None:
        self._gradients: Float32[np.ndarray, "layer pos neuron"] = np.zeros(shape, np.float32)
        self.points: Int64[np.ndarray, " path"] = np.zeros(n_paths, np.int64)
        self._partial = partial

    def of(self, rows: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
        """A copy of the sum of the path with these rows."""
        return torch.from_numpy(self._gradients[list(rows)])

    def resume(self, *, most: int) -> None:
        """Take over the sums that an earlier process stored; no path has more than `most` points."""
        if self._partial is None:
            return
        n_bytes = self._gradients.nbytes + self.points.nbytes + (1 << 16)
        before = self._partial.load(max_bytes=n_bytes, like=self._arrays())
        if before and not ((before["points"] >= 0) & (before["points"] <= most)).all():
            log.warning("the stored part of ig has impossible numbers of points; starting again")
        elif before:
            self._gradients, self.points = before["gradients"], before["points"]
            log.info("resuming with %d points of ig done", self.points.sum())

    def put(self, path: int, rows: Sequence[int], gradients: Float[Tensor, "layer pos neuron"], points: int) -> None:
        """Replace the sum of one path, and store everything if it is time."""
        self._gradients[list(rows)], self.points[path] = gradients.cpu().numpy(), points
        if self._partial is not None:
            self._partial.save(self._arrays())

    @contextlib.contextmanager
    def save_on_error(self) -> Iterator[None]:
        """Store the sums if an exception ends the block and a point is done."""
        if self._partial is None:
            yield
            return
        with self._partial.save_on_error(lambda: self._arrays() if self.points.any() else {}):
            yield

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"gradients": self._gradients, "points": self.points}
