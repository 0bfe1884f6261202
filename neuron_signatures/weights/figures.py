"""Pictures of the tables: `weights/figures/` of a run. They show no more than the tables hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from neuron_signatures.runs.canvas import COLOURS, MARKERS, new_figure, write_pictures
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.weights.folder import CLASSES, FIGURES, WEIGHTS, WEIGHTS_FOLDER
from neuron_signatures.weights.facts import NULL_QUANTILE
from neuron_signatures.weights.stage import Finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR: Final[dict[str, str]] = {
    "prediction": COLOURS[0], "suppression": COLOURS[1], "partition": COLOURS[4], "entropy": COLOURS[3],
    "token_frequency": COLOURS[2], "none": "0.75",
}  # fmt: skip
_MARKER: Final[dict[str, str]] = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(CLASSES)}
_SIZE: Final[dict[str, float]] = {name: 7 if name == "entropy" else 4 for name in CLASSES}
_SHOWN: Final = tuple(name for name in CLASSES if name != "none")


def write_figures(run: Run, found: Finished, kinds: Sequence[str]) -> list[str]:
    """Write every picture in every format, in place of earlier ones. Returns the names. Raises `RunLockedError`."""
    with run_lock(run.path):
        names = write_pictures(run.path, f"{WEIGHTS_FOLDER.folder}/{FIGURES}", pictures(found), kinds)
    return [f"{FIGURES}/{name}" for name in names]


def pictures(found: Finished) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The stem of each file with what draws it."""
    tables, settings = found.tables, found.record.settings
    kurtosis = float(settings["rules"]["kurtosis"])
    yield "kurtosis_skewness", lambda: kurtosis_skewness(tables.neurons, tables.random, kurtosis)
    yield "classes_by_layer", lambda: classes_by_layer(tables.neurons)
    yield "norm_variance", lambda: norm_variance(tables.neurons, tables.random)
    if len(tables.neighbours):
        yield "nearest_neighbours", lambda: nearest_neighbours(tables.neighbours, tables.neighbour_null)


def kurtosis_skewness(neurons: pd.DataFrame, random: pd.DataFrame, limit: float) -> Figure:
    """A panel per quarter of the layers; random directions in black."""
    quarters = [q for q in np.array_split(np.sort(neurons["layer"].unique()), 4) if len(q)]
    figure = new_figure(3.7 * len(quarters) + 1.6, 4.0)
    grid = np.atleast_1d(figure.subplots(1, len(quarters), sharex=True, sharey=True))
    for axes, layers in zip(grid, quarters, strict=True):
        own, chance = (table[table["layer"].isin(layers)] for table in (neurons, random))
        _points(axes, own, "logit_skewness", "logit_kurtosis")
        axes.plot(chance["logit_skewness"], chance["logit_kurtosis"], ".", color="k", markersize=2, zorder=3,
                  label=f"random directions ({len(random):,})")  # fmt: skip
        axes.axhline(limit, color="0.3", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.set_title(_of_layers(layers), fontsize=10)
        axes.set_xlabel("skewness")
    grid[0].set_ylabel("kurtosis (normal: 3; log scale)")
    _ticks(grid[0], neurons["logit_kurtosis"])
    _legend(figure, grid)
    figure.suptitle(f"cos(W_U, w_out) over the vocabulary; dotted: kurtosis {limit:g}", fontsize=10)
    return figure


def classes_by_layer(neurons: pd.DataFrame) -> Figure:
    """Stacked bars; neurons of no class are left out."""
    counts = neurons.groupby(["layer", "class"]).size().unstack(fill_value=0)
    figure = new_figure(max(5.0, 0.24 * len(counts) + 3.2), 3.9)
    axes = figure.subplots()
    below = np.zeros(len(counts))
    for name in _SHOWN:
        if name in counts:
            axes.bar(counts.index, counts[name], bottom=below, color=_COLOUR[name], width=0.85,
                     label=f"{name} ({counts[name].sum():,})")  # fmt: skip
            below += counts[name].to_numpy()
    axes.set_xlabel("layer")
    axes.set_ylabel(f"neurons (of {int((neurons['layer'] == counts.index[0]).sum()):,})")
    axes.set_xticks(counts.index[:: max(1, len(counts) // 16)])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    axes.set_title("Classes by layer", fontsize=10)
    return figure


def norm_variance(neurons: pd.DataFrame, random: pd.DataFrame) -> Figure:
    """Entropy neurons have a large norm and a small variance, at the lower right, in the last layers."""
    layers = np.sort(neurons["layer"].unique())
    figure = new_figure(10.2, 4.2)
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    n_last = max(1, len(layers) // 10)
    for axes, some in zip(grid, (layers[:-n_last], layers[-n_last:]), strict=True):
        own = neurons[neurons["layer"].isin(some)]
        _points(axes, own, "norm_out", "logit_variance")
        for y, label in ((0.999, "99.9 %"), (0.001, "0.1 %")):
            axes.axhline(random["logit_variance"].quantile(y), color="k", linewidth=0.8, linestyle=":",
                         label=f"{label} of random directions")  # fmt: skip
        axes.set_yscale("log")
        axes.set_title(_of_layers(some), fontsize=10)
        axes.set_xlabel("‖w_out‖")
    grid[0].set_ylabel("variance of cos(W_U, w_out) (log scale)")
    _legend(figure, grid)
    figure.suptitle("Norm of the output weights against the variance of the logit effect", fontsize=10)
    return figure


def nearest_neighbours(neighbours: pd.DataFrame, null: pd.DataFrame) -> Figure:
    """A panel per kind of weights: the largest |cosine| of each neuron, beside that of permuted neurons."""
    kinds = [kind for kind in WEIGHTS if (neighbours["weight"] == kind).any()]
    figure = new_figure(3.9 * len(kinds) + 0.6, 3.8)
    best = neighbours[neighbours["rank"] == 1]
    for axes, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds), sharey=True)), kinds, strict=True):
        own = best.loc[best["weight"] == kind, "cosine"].abs()
        chance = null.loc[null["weight"] == kind, "cosine"]
        edges = np.linspace(0, 1, 81)
        for values, colour, label in ((own, COLOURS[0], "neurons"), (chance, COLOURS[1], "coordinates permuted")):
            axes.hist(values, bins=edges, weights=np.full(len(values), 1 / max(1, len(values))), histtype="stepfilled",
                      alpha=0.45, color=colour, label=f"{label} ({len(values):,})")  # fmt: skip
        high = float(chance.quantile(NULL_QUANTILE))
        axes.axvline(high, color="0.2", linewidth=0.9, linestyle=":", label=f"99 % of permuted: {high:.3f}")
        axes.set_yscale("log")
        axes.set_title(f"{kind} weights: {(own > high).mean():.0%} above", fontsize=10)
        axes.set_xlabel("|cosine| with the nearest neuron")
        axes.legend(fontsize=7, loc="upper right")
    figure.axes[0].set_ylabel("share of neurons (log scale)")
    return figure


def _of_layers(layers: np.ndarray) -> str:
    if not len(layers):
        return "no layers"
    return f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"


def _points(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """A point per neuron, the rare classes above the others."""
    for name in ("none", *_SHOWN):
        own = rows[rows["class"] == name]
        if own.empty:
            continue
        plain = name == "none"
        axes.plot(own[x], own[y], linestyle="none", marker="." if plain else _MARKER[name], color=_COLOUR[name],
                  markersize=2 if plain else _SIZE[name], markeredgewidth=0.5 if name == "entropy" else 0,
                  markeredgecolor="k", alpha=0.6 if plain else 0.85, zorder=1 if plain else 2 + (name == "entropy"),
                  label=name, rasterized=True)  # fmt: skip


def _legend(figure: Figure, grid: np.ndarray) -> None:
    """One entry for each label of any panel."""
    from matplotlib.lines import Line2D

    found = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    legend = figure.legend(list(found.values()), list(found), loc="outside right center", fontsize=8)
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(6)


def _ticks(axes: Axes, values: pd.Series) -> None:
    """Plain numbers on a log axis."""
    from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

    axes.yaxis.set_major_locator(
        FixedLocator([t for t in (2, 3, 5, 10, 20, 50, 100, 200, 500) if t < values.max() * 1.5])
    )
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
