"""The neighbours of all neurons by one kind of weights, beside their null; a stopped search goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.weights.folder import Weight
from neuron_signatures.weights.model_weights import ModelWeights
from neuron_signatures.weights.neighbours import Neighbours, Search, best_of_permuted, default_tile, search
from neuron_signatures.weights.panels import panels_of, unit_rows

log = logging.getLogger(__name__)


class Nearest(NamedTuple):
    """Neurons are counted over the chosen layers. `ids` are -1 where there is no neighbour. `null` has the largest
    |cosine| of each of the neurons `sample` after its coordinates were permuted."""

    ids: Int32[np.ndarray, "n top"]
    cosines: Float32[np.ndarray, "n top"]
    sample: Int64[np.ndarray, " draw"]
    null: Float32[np.ndarray, " draw"]


_PAIRS: Final = "pairs"


def find_nearest(
    weights: ModelWeights, layers: Sequence[int], kind: Weight, *, top: int, n_permuted: int, seed: int,
    partial: Partial, progress: ProgressOf,
) -> Nearest:  # fmt: skip
    """Neurons whose weights are 0 have no neighbours and are none."""
    panels = panels_of(weights, layers)
    n = len(layers) * weights.shape.d_mlp
    starts = [0, *np.cumsum([len(p) * weights.shape.d_mlp for p in panels]).tolist()]
    tile = default_tile(weights.device)
    alive = torch.zeros(n, dtype=torch.bool, device=weights.device)

    def load(i: int) -> torch.Tensor:
        rows = unit_rows(weights, panels[i], kind)
        alive[starts[i] : starts[i + 1]] = (rows != 0).any(1)
        return rows

    found = Search(n, top, weights.device)
    state = _State(partial, found)
    n_pairs = state.resume()
    with progress(f"{kind} cosines", n * (n + 1) // 2) as bar, state.save_on_error():
        bar.skip(_cosines_of(starts, n_pairs))
        search(load, starts, found, tile=tile, done=n_pairs, after_pair=state.keep, advance=bar.advance)
        state.save_now()  # other weights follow
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, n_permuted), replace=False))
    with progress(f"{kind} null", len(sample) * n) as bar:
        chosen = torch.from_numpy(sample).to(weights.device)
        null = best_of_permuted(load, starts, chosen, tile=tile, seed=seed, advance=bar.advance)
    ids, cosines = (x.cpu().numpy() for x in found.found())
    mine = alive.cpu().numpy()
    return Nearest(_only(ids, mine), cosines, sample[mine[sample]], null.cpu().numpy()[mine[sample]])


def _only(ids: Int32[np.ndarray, "n top"], alive: Bool[np.ndarray, " n"]) -> Int32[np.ndarray, "n top"]:
    return np.where((ids >= 0) & alive[:, None] & alive[ids], ids, -1).astype(np.int32)


def _cosines_of(starts: Sequence[int], n_pairs: int) -> int:
    """About how many cosines the first pairs of panels have."""
    sizes = np.diff(starts).tolist()
    every = [a * b if i != j else a * (a + 1) // 2 for i, a in enumerate(sizes) for j, b in enumerate(sizes) if j >= i]
    return sum(every[:n_pairs])


class _State:
    """What is stored of a search: what had been found after some pairs of panels, and how many."""

    def __init__(self, partial: Partial, found: Search) -> None:
        self._partial, self._found = partial, found
        self._arrays: dict[str, np.ndarray] = {}
        self.save_on_error = lambda: partial.save_on_error(lambda: self._arrays)

    def resume(self) -> int:
        """How many pairs of panels an earlier process has done; 0 if its settings were others."""
        like = self._of(self._found.found(), 0)
        try:
            stored = self._partial.load(max_bytes=sum(a.nbytes for a in like.values()) + 4096, like=like)
        except UsageError:
            return 0
        if not stored:
            return 0
        self._arrays = stored
        device = self._found.ids.device
        self._found.restore(Neighbours(*(torch.from_numpy(stored[name]).to(device) for name in ("ids", "cosines"))))
        log.info("resuming the neighbours after %d pairs of panels", int(stored[_PAIRS][0]))
        return int(stored[_PAIRS][0])

    def keep(self, n_pairs: int) -> None:
        self._arrays = self._of(self._found.found(), n_pairs)
        self._partial.save(self._arrays)

    def save_now(self) -> None:
        self._partial.save_now(self._arrays)

    @staticmethod
    def _of(found: Neighbours, n_pairs: int) -> dict[str, np.ndarray]:
        return {"ids": found.ids.cpu().numpy(), "cosines": found.cosines.cpu().numpy(), _PAIRS: np.array([n_pairs])}
