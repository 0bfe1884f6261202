"""Dose-response curves with the band of the controls, and the price."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from neuron_signatures.runs.canvas import new_figure, save
from neuron_signatures.runs.files import explain_os_errors, whole_file
from neuron_signatures.runs.opening import folder_below
from neuron_signatures.runs.skills.names import FIGURES, SKILLS
from neuron_signatures.runs.tokens import ascii_token

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AXIS: Final = {
    "effect": "change of log p per token, own class",
    "against_others": "own class less other classes",
    "class_tokens": "log p of the class's tokens elsewhere",
}


def write_figures(run_dir: Path, summary: pd.DataFrame, formats: Sequence[str]) -> list[str]:
    """Write `skills/figures/steer_<class>_<source>_<edit>` in each format; returns the names."""
    names = []
    below = f"{SKILLS}/{FIGURES}"
    with explain_os_errors(run_dir / below), folder_below(run_dir, below, create=True):
        pass
    for (name, source, edit), rows in summary.groupby(["class", "source", "edit"], sort=True):
        safe = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{name}_{source}_{edit}")
        figure = curves(rows, title=f"{name}: {source}, {edit}")
        for kind in formats:
            file_name = f"steer_{safe}.{kind}"
            with whole_file(run_dir, file_name, below=below) as f:
                save(figure, f, kind)
            names.append(file_name)
    return names


def curves(rows: pd.DataFrame, *, title: str) -> Figure:
    """All but the last: the effect of each unit by dose, and what 90 % of its random controls do (the mean over units
    of both limits). Last: KL on neutral text."""
    there = [outcome for outcome in _AXIS if outcome in set(rows["outcome"])]
    figure = new_figure(4.0 * (len(there) + 1), 3.8)
    axes = figure.subplots(1, len(there) + 1)
    random = rows[rows["role"] == "random"]
    for at, outcome in zip(axes, there, strict=False):
        _effects(at, random[random["outcome"] == outcome], _AXIS[outcome])
    _price(axes[-1], random[random["outcome"] == "effect"])
    figure.suptitle(ascii_token(title), fontsize=10).set_parse_math(False)
    return figure


def _effects(at: Any, rows: pd.DataFrame, label: str) -> None:
    for name, unit in _units(rows):
        at.plot(unit["dose"], unit["effect"], marker="o", markersize=3, linewidth=1, label=name)
    band = rows.groupby("dose")[["control_low", "control_high", "control_mean"]].mean().dropna()
    at.fill_between(band.index, band["control_low"], band["control_high"], color="0.85", label="random, 5 to 95 %")
    at.plot(band.index, band["control_mean"], color="0.5", linewidth=1)
    for dose in rows.loc[rows["chosen"].astype(bool), "dose"].unique():
        at.axvline(dose, color="0.7", linewidth=0.8, linestyle="--")
    at.axhline(0, color="0.7", linewidth=0.8)
    at.set(xlabel="dose", ylabel=f"{label} (nats)")
    at.legend(fontsize=6)


def _price(at: Any, rows: pd.DataFrame) -> None:
    for _, unit in _units(rows):
        at.plot(unit["dose"], unit["kl"], marker="o", markersize=3, linewidth=1)
    controls = rows.groupby("dose")["control_kl"].median().dropna()
    at.plot(controls.index, controls, color="0.5", linewidth=2, label="median control")
    at.set(xlabel="dose", ylabel="KL on neutral text (nats)")
    at.legend(fontsize=6)


def _units(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for label, unit in rows.groupby("label", sort=False):
        yield str(label), unit.sort_values("dose")
