"""Similarities by layer, firing frequencies, and how much the skills of a class share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from neuron_signatures.runs.canvas import COLOURS, MARKERS, new_figure, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LINES: Final = 12


def by_layer(rows: pd.DataFrame, *, title: str, label: str) -> Figure:
    """A panel per site and a line per pair of classes with its 95 % band; grey: mean and two standard deviations of
    the null, and above it the random halves."""
    sites = sorted(rows["site"].unique())
    figure = new_figure(4.6 * len(sites) + 1.6, 3.9)
    grid = np.atleast_1d(figure.subplots(1, len(sites), sharey=True))
    for axes, site in zip(grid, sites, strict=True):
        own = rows[rows["site"] == site].astype({"layer": int})
        null = own.groupby("layer")[["null_mean", "null_sd", "halves_mean"]].mean()
        axes.fill_between(null.index, null["null_mean"] - 2 * null["null_sd"], null["null_mean"] + 2 * null["null_sd"],
                          color="0.8", label="permuted labels ± 2 SD")  # fmt: skip
        axes.plot(null.index, null["halves_mean"], color="0.4", linestyle=":", label="random halves of a class")
        for i, ((a, b), pair) in enumerate(list(own.groupby(["class_a", "class_b"]))[:_MOST_LINES]):
            pair = pair.sort_values("layer")
            colour = COLOURS[i % len(COLOURS)]
            axes.fill_between(pair["layer"], pair["low"], pair["high"], color=colour, alpha=0.2, linewidth=0)
            axes.plot(pair["layer"], pair["value"], color=colour, marker=MARKERS[i % len(MARKERS)], markersize=4,
                      label=f"{shown(a)} / {shown(b)}")  # fmt: skip
        axes.set_title(site if site != "neuron" else "MLP neurons", fontsize=10)
        axes.set_xlabel("layer")
        axes.set_xticks(sorted(own["layer"].unique()))
    grid[0].set_ylabel(label)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def frequencies(rows: pd.DataFrame, *, title: str) -> Figure:
    """In what share of a class's texts units fire, all layers together; the first bin has the silent units."""
    sites = sorted(rows["site"].unique())
    figure = new_figure(4.6 * len(sites) + 1.2, 3.9)
    grid = np.atleast_1d(figure.subplots(1, len(sites)))
    for axes, site in zip(grid, sites, strict=True):
        own = rows[rows["site"] == site]
        for i, (name, of_class) in enumerate(own.groupby("class")):
            counts = of_class.groupby(["low", "high"])["n_units"].sum().reset_index()
            axes.plot(range(len(counts)), counts["n_units"], drawstyle="steps-mid", color=COLOURS[i % len(COLOURS)],
                      marker=MARKERS[i % len(MARKERS)], markersize=4, label=shown(name))  # fmt: skip
        edges = own.groupby(["low", "high"]).size().reset_index()
        ticks = [f"{low:g} to {high:g}" for low, high in zip(edges["low"], edges["high"], strict=True)]
        axes.set_xticks(range(len(ticks)), ticks, rotation=60, ha="right", fontsize=7)
        n = int(own["n_units"].sum() / own["class"].nunique())
        axes.set_title(f"{site if site != 'neuron' else 'MLP neurons'} (n = {n:,} units)", fontsize=10)
        axes.set_xlabel("share of the class's texts in which the unit fires")
        axes.set_ylim(bottom=0)
    grid[0].set_ylabel("units")
    grid[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def skills(rows: pd.DataFrame, *, title: str) -> Figure:
    """A panel per class and a row per pair of its skills: the overlap coefficient with its 95 % interval, the mean of
    the null, and random halves."""
    classes = sorted(rows["class_a"].unique())
    most = max(int((rows["class_a"] == name).sum()) for name in classes)
    figure = new_figure(5.2 * len(classes), max(3.2, 0.24 * most + 1.8))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(classes))), classes, strict=True):
        own = rows[rows["class_a"] == name].sort_values("value", ignore_index=True)
        at = np.arange(len(own))
        below, above = (np.maximum(x, 0) for x in (own["value"] - own["low"], own["high"] - own["value"]))
        axes.errorbar(
            own["value"], at, xerr=[below, above], fmt="o", color=COLOURS[0], markersize=4, label="skills, 95 %"
        )
        axes.plot(own["null_mean"], at, "x", color="0.3", label="permuted labels, mean")
        axes.plot(own["halves_mean"], at, "|", color=COLOURS[1], markersize=9, label="random halves, mean")
        names = [f"{shown(r.skill_a)} / {shown(r.skill_b)} ({r.n_a}, {r.n_b})" for r in own.itertuples()]
        axes.set_yticks(at, names, fontsize=7)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("overlap coefficient of the sets of units")
        axes.set_title(f"{shown(name)}; (n) texts", fontsize=10)
        axes.legend(fontsize=7, loc="lower left")
    figure.suptitle(title, fontsize=10)
    return figure
