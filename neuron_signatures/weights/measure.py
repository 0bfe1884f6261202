"""The statistics of the neurons of each layer and of random directions; finished layers are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from neuron_signatures.runs.partial import Partial, stored_layers
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.weights.model_weights import ModelWeights
from neuron_signatures.weights.panels import panels_of
from neuron_signatures.weights.readout import Readout
from neuron_signatures.weights.statistics import (
    PAIR_COLUMNS,
    WRITE_COLUMNS,
    pair_statistics,
    random_directions,
    write_statistics,
)

_NAME: Final = re.compile(r"L([0-9]{1,6})_(neurons|random)")


class LayerStatistics(NamedTuple):
    """`neurons` have `WRITE_COLUMNS` and `PAIR_COLUMNS`, `random` directions the first."""

    neurons: Float64[np.ndarray, "neuron column"]
    random: Float64[np.ndarray, "draw write_column"]


class Plan(NamedTuple):
    """The chosen layers, and random directions of each."""

    layers: tuple[int, ...]
    n_random: int
    seed: int


def measure(
    weights: ModelWeights, readout: Callable[[], Readout], plan: Plan, partial: Partial, progress: ProgressOf
) -> dict[int, LayerStatistics]:
    """The statistics of each layer. Those that a stopped command with the same settings has finished are used.

    `readout` is called if there is something to do.
    """
    done = _resume(weights, plan, partial)
    todo = [p for p in panels_of(weights, plan.layers) if not set(p) <= done.keys()]
    if not todo:
        return done
    read = readout()
    rows = weights.shape.d_mlp + plan.n_random
    with (
        progress("scores", len(plan.layers) * rows * len(read.weight)) as bar,
        partial.save_on_error(lambda: _arrays(done)),
    ):
        bar.skip(sum(len(p) for p in panels_of(weights, plan.layers) if p not in todo) * rows * len(read.weight))
        for panel in todo:
            done |= _panel(weights, read, panel, plan, bar.advance)
            partial.save(_arrays(done))
        partial.save_now(_arrays(done))  # what follows takes as long
    return {layer: done[layer] for layer in plan.layers}


def _panel(
    weights: ModelWeights, readout: Readout, panel: Sequence[int], plan: Plan, advance: Callable[[int], None]
) -> dict[int, LayerStatistics]:
    n, per_layer = weights.shape.d_mlp, weights.shape.d_mlp + plan.n_random
    pairs = [pair_statistics(weights, layer) for layer in panel]
    rows = torch.empty(len(panel) * per_layer, weights.d_model, dtype=torch.float32, device=weights.device)
    for i, layer in enumerate(panel):
        mine = rows[i * per_layer : (i + 1) * per_layer]
        mine[:n] = weights.directions(layer, "output")
        mine[n:] = random_directions(mine[:n], plan.n_random, seed=plan.seed * 100_003 + layer)
    found = write_statistics(rows, readout, advance).view(len(panel), per_layer, -1)
    return {
        layer: LayerStatistics(
            torch.cat([found[i, :n], pairs[i]], 1).cpu().numpy(), found[i, n:].cpu().numpy()
        )
        for i, layer in enumerate(panel)
    }  # fmt: skip


def _resume(weights: ModelWeights, plan: Plan, partial: Partial) -> dict[int, LayerStatistics]:
    n_columns = len(WRITE_COLUMNS) + len(PAIR_COLUMNS)
    forms = {"neurons": (weights.shape.d_mlp, n_columns), "random": (plan.n_random, len(WRITE_COLUMNS))}

    def fits(arrays: Mapping[str, np.ndarray]) -> bool:
        return {name: (a.shape, str(a.dtype)) for name, a in arrays.items()} == {
            name: (shape, "float64") for name, shape in forms.items()
        }

    per_layer = 8 * (weights.shape.d_mlp + plan.n_random) * n_columns + 4096
    found = stored_layers(partial, _NAME, plan.layers, of="model", max_bytes=len(plan.layers) * per_layer, fits=fits)
    return {layer: LayerStatistics(**arrays) for layer, arrays in found.items()}


def _arrays(done: Mapping[int, LayerStatistics]) -> dict[str, np.ndarray]:
    return {f"L{layer}_{name}": array for layer, found in done.items() for name, array in found._asdict().items()}
