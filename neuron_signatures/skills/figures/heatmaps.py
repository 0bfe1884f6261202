"""Heatmaps: every similarity of classes, and of the skills of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from neuron_signatures.runs.canvas import new_figure, shown
from neuron_signatures.skills.compare.measures import COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WITHOUT_VALUES: Final = 9
"""Skills above which a cell is too small for its number."""
_SURE: Final = 0.05


def between(rows: pd.DataFrame, classes: dict[str, int], *, title: str) -> Figure:
    """A panel per similarity. The diagonal has the random halves of a class, the most that can be reached."""
    names = list(classes)
    labels = [f"{shown(name)} ({n})" for name, n in classes.items()]
    return _panels(rows, names, labels, ("class_a", "class_b"), title, f"{title}; (n) texts")


def within(rows: pd.DataFrame, *, title: str) -> Figure:
    """The same for the skills of one class."""
    sizes = {r.skill_a: r.n_a for r in rows.itertuples()} | {r.skill_b: r.n_b for r in rows.itertuples()}
    names = sorted(sizes)
    labels = [f"{shown(name)} ({sizes[name]})" for name in names]
    return _panels(rows, names, labels, ("skill_a", "skill_b"), title, f"{title}; (n) texts")


def _panels(
    rows: pd.DataFrame, names: list[str], labels: list[str], by: tuple[str, str], title: str, caption: str
) -> Figure:
    size = max(3.0, 0.55 * len(names) + 1.6)
    figure = new_figure(3 * size, 3 * size)
    grid = figure.subplots(3, 3).ravel()
    for axes, (measure, vector) in zip(grid, COLUMNS, strict=True):
        own = rows[(rows["measure"] == measure) & (rows["vector"] == vector)]
        axes.set_title(f"{measure} of {_VECTOR[vector]}", fontsize=9)
        if own.empty:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "not defined", ha="center", transform=axes.transAxes, fontsize=9)
            continue
        _heatmap(axes, own, names, labels, by)
    note = "diagonal: mean of random halves (half as many texts); bold: less alike than permuted labels, p ≤ 0.05"
    figure.suptitle(f"{caption}\n{note}", fontsize=10)
    return figure


_VECTOR: Final = {"set": "sets", "log1p_count": "log1p counts", "mean": "mean activation", "frequency": "frequency"}


def _heatmap(axes: Axes, rows: pd.DataFrame, names: list[str], labels: list[str], by: tuple[str, str]) -> None:
    place = {name: i for i, name in enumerate(names)}
    values, sure = np.full((len(names), len(names)), np.nan), np.zeros((len(names), len(names)), bool)
    halves: dict[str, list[float]] = {name: [] for name in names}
    for row in rows.to_dict("records"):
        i, j = (place[row[side]] for side in by)
        values[i, j] = values[j, i] = row["value"]
        sure[i, j] = sure[j, i] = row["p"] <= _SURE
        for side in by:
            halves[row[side]].append(row["halves_mean"])
    measure = rows["measure"].iloc[0]
    comparable = measure != "dot" or rows["vector"].iloc[0] != "log1p_count"  # it grows with the number of texts
    for name, found in halves.items():
        values[place[name], place[name]] = np.mean(found) if found and comparable else np.nan
    low, high = (None, None) if measure == "dot" else (-1, 1) if measure in ("pearson", "spearman") else (0, 1)
    colours = "RdBu_r" if low == -1 else "viridis"
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high)
    axes.figure.colorbar(image, ax=axes, shrink=0.75)
    axes.set_xticks(range(len(names)), labels, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    if len(names) > _WITHOUT_VALUES:
        return
    for (i, j), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
        r, g, b, _ = image.cmap(image.norm(value)) if not np.isnan(value) else (1, 1, 1, 1)
        dark = 0.3 * r + 0.6 * g + 0.1 * b < 0.5
        weight = "bold" if sure[i, j] and i != j else "normal"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color="w" if dark else "k", fontweight=weight)
