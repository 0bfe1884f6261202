"""Static figures of a comparison. They show no more than the tables hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd

from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs.canvas import COLOURS, MARKERS, new_figure, shown
from neuron_signatures.runs.comparisons.folder import ALL_LAYERS, DRIFT, MODELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

_MOST_NEURONS: Final = 8
_MOST_COLOURS: Final = 6
"""Layers above which a scale of colours is used, and no intervals are drawn."""


def figures(found: Compared) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The stem of each file with what draws it; those without data are left out."""
    if len(found[MODELS]):
        yield "cka", partial(cka, found)
    for name in ("pearson", "jaccard"):
        if len(found.to_reference(DRIFT)) and found.to_reference(DRIFT)[name].notna().any():
            yield name, partial(distribution, found, name)
            yield f"most_drifted_{name}", partial(most_drifted, found, name)


def cka(found: Compared) -> Figure:
    """Debiased CKA to the reference over the runs: all layers together with the interval and the null; by layer."""
    rows, labels, reference = found.to_reference(MODELS), found.labels, found.reference
    order = [i for i in labels if i == reference or i in set(rows["a"])]
    figure = new_figure(max(9.0, 2 * (2.6 + 0.8 * len(order))), 4.4)
    whole, single = figure.subplots(1, 2, sharey=True)
    own = rows[rows["layer"] == ALL_LAYERS].set_index("a").reindex(order)
    at = np.arange(len(order))
    for axes in (whole, single):
        axes.axhspan(
            (own["null_mean"] - 2 * own["null_sd"]).min(), (own["null_mean"] + 2 * own["null_sd"]).max(), color="0.8",
            label="permuted tokens ± 2 SD",
        )  # fmt: skip
        axes.set_xticks(at, [_tick(labels[i], i == reference) for i in order], rotation=30, ha="right", fontsize=8)
    place = order.index(reference)
    _line(whole, at, own, place, color=COLOURS[0], marker="o", label="all layers, 95 % over prompts", band=True)
    layers = [int(layer) for layer in sorted(rows["layer"].unique()) if layer != ALL_LAYERS]
    for n, layer in enumerate(layers):
        of_layer = rows[rows["layer"] == layer].set_index("a").reindex(order)
        few = len(layers) <= _MOST_COLOURS
        named = few or n in (0, len(layers) // 2, len(layers) - 1)
        colour = COLOURS[n % len(COLOURS)] if few else _scale(n, len(layers))
        _line(single, at, of_layer, place, color=colour, marker=MARKERS[n % len(MARKERS)] if few else ".",
              label=f"layer {layer}" if named else None, band=few)  # fmt: skip
    whole.set_ylabel(f"debiased linear CKA to {shown(labels[reference])}")
    for axes in (whole, single):
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{found.facts['n_cka_tokens']:,} tokens; the reference is 1 by definition", fontsize=10)
    return figure


def distribution(found: Compared, name: str) -> Figure:
    """How the neurons' Pearson (or Jaccard) with the reference is distributed in each run, and the null."""
    rows, labels = found.to_reference(DRIFT), found.labels
    runs = [int(a) for a in sorted(rows["a"].unique())]
    figure = new_figure(max(4.6, 2.0 + 1.1 * len(runs)), 4.2)
    axes = figure.subplots()
    values = [rows.loc[rows["a"] == a, name].dropna().to_numpy() for a in runs]
    usable = [(i, v) for i, v in enumerate(values) if len(v)]
    parts = axes.violinplot([v for _, v in usable], [i for i, _ in usable], widths=0.85, showextrema=False)
    for body in cast("list[PolyCollection]", parts["bodies"]):
        body.set(facecolor=COLOURS[5], edgecolor=COLOURS[0], alpha=0.8)
    for i, v in usable:
        low, middle, high = np.percentile(v, [25, 50, 75])
        axes.vlines(i, low, high, color="k", linewidth=3)
        axes.plot(i, middle, "o", color="w", markeredgecolor="k", markersize=6)
    _null(axes, found, name, len(runs))
    axes.set_xticks(range(len(runs)), [shown(labels[a]) for a in runs], rotation=30, ha="right", fontsize=8)
    axes.set_ylabel(f"{_TITLE[name]} with {shown(labels[found.reference])}, same index")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right" if name == "pearson" else "upper left")
    figure.suptitle(f"{max(len(v) for v in values):,} neurons; bar: quartiles, dot: median", fontsize=10)
    return figure


def most_drifted(found: Compared, name: str) -> Figure:
    """The neurons that are least like themselves in the run that is most like the reference, over all runs."""
    rows, labels, reference = found.to_reference(DRIFT), found.labels, found.reference
    nearest = int(rows.groupby("a")[name].median().idxmax())
    chosen = rows[rows["a"] == nearest].nsmallest(_MOST_NEURONS, name)
    order = [i for i in labels if i == reference or i in set(rows["a"])]
    figure = new_figure(max(6.4, 3.4 + 1.0 * len(order)), 4.2)
    axes = figure.subplots()
    for n, neuron in enumerate(chosen.itertuples()):
        own = rows[(rows["layer"] == neuron.layer) & (rows["neuron"] == neuron.neuron)].set_index("a")[name]
        series = own.reindex(order).to_numpy(float).copy()
        series[order.index(reference)] = 1
        axes.plot(range(len(order)), series, color=COLOURS[n % len(COLOURS)], marker=MARKERS[n % len(MARKERS)],
                  markersize=5, label=f"L{neuron.layer}N{neuron.neuron}")  # fmt: skip
    middle = rows.groupby("a")[name].median().reindex(order).to_numpy(float).copy()
    middle[order.index(reference)] = 1
    axes.plot(range(len(order)), middle, color="0.5", linewidth=3, alpha=0.6, label="median of all")
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_xticks(range(len(order)), [_tick(labels[i], i == reference) for i in order], rotation=30, ha="right",
                    fontsize=8)  # fmt: skip
    axes.set_ylabel(f"{_TITLE[name]} with {shown(labels[reference])}")
    figure.legend(loc="outside right center", fontsize=8)
    figure.suptitle(f"the neurons with the smallest {_TITLE[name]} in {shown(labels[nearest])}", fontsize=10)
    return figure


_TITLE: Final = {"pearson": "Pearson", "jaccard": "Jaccard of the strongest"}


def _line(
    axes: Axes,
    at: np.ndarray,
    rows: pd.DataFrame,
    place: int,
    *,
    color: Any,
    marker: str,
    label: str | None,
    band: bool,
) -> None:
    """One line over the runs, through 1 at the reference."""
    value, low, high = (rows[name].to_numpy(float).copy() for name in ("debiased_cka", "low", "high"))
    for values in (value, low, high):
        values[place] = 1
    if band:
        axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(at, value, color=color, marker=marker, markersize=5, label=label)


def _null(axes: Axes, found: Compared, name: str, n_runs: int) -> None:
    """The band of permuted indices, 5th to 95th percentile."""
    facts = [f.get(f"{name}_permuted_indices", {}) for f in found.facts["pairs"] if f["b"] == found.reference]
    facts = [f for f in facts if "p5" in f]
    if facts:
        axes.axhspan(min(f["p5"] for f in facts), max(f["p95"] for f in facts), color="0.8", zorder=0,
                     label="permuted indices, 5 % to 95 %")  # fmt: skip
    axes.set_xlim(-0.6, n_runs - 0.4)


def _scale(i: int, n: int) -> Any:
    import matplotlib as mpl

    return mpl.colormaps["viridis"](0.92 * i / max(1, n - 1))


def _tick(label: str, is_reference: bool) -> str:
    return f"{shown(label)}\n(reference)" if is_reference else shown(label)
