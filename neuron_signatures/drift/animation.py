"""The animation `drift.html`: every neuron a dot that moves over the checkpoints, and beside it the CKA.

One file without network: the data are a block of JSON that is not a script, and the policy of the page lets no other
script run than its own. Labels come from folder names and are hostile input: they are escaped, and shown as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.drift.animation_page import PAGE, STYLE
from neuron_signatures.drift.animation_script import SCRIPT
from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs.comparisons.folder import ALL_LAYERS, DRIFT, MODELS
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import encodable, escape

MOST_DOTS: Final = 300_000
"""Dots over all frames: five quantities of two bytes each are 4 MB as base64."""
_MISSING: Final = 0xFFFF
_LABEL: Final = 60


class _Quantity(NamedTuple):
    """A quantity of an axis. `columns`: of a run before the reference, and of the reference itself (None: 1)."""

    name: str
    title: str
    columns: tuple[str, str | None]
    scale: str
    """linear, asinh or log: how it is drawn."""


_QUANTITIES: Final = (
    _Quantity("pearson", "Pearson with the reference", ("pearson", None), "linear"),
    _Quantity("jaccard", "Jaccard of the strongest with the reference", ("jaccard", None), "linear"),
    _Quantity("mean", "mean activation", ("mean_a", "mean_b"), "asinh"),
    _Quantity("std", "standard deviation of the activation", ("std_a", "std_b"), "log"),
    _Quantity("rate", "firing rate", ("rate_a", "rate_b"), "linear"),
)


def animation(found: Compared, *, title: str, seed: int) -> str | None:
    """The page; None if no run has the neurons of the reference."""
    rows = found.to_reference(DRIFT)
    if rows.empty:
        return None
    data = json.dumps(strict(_data(found, rows, seed)), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":  # so that no label ends the block
        data = data.replace(character, f"\\u{ord(character):04x}")
    hashes = {"SCRIPT_HASH": _hash(SCRIPT), "STYLE_HASH": _hash(STYLE)}
    parts = {**hashes, "TITLE": html.escape(_shown(title)), "STYLE": STYLE, "SCRIPT": SCRIPT, "DATA": data}
    head, *rest = PAGE.split("{{")
    return head + "".join(parts[name] + tail for name, tail in (part.split("}}", 1) for part in rest))


def _data(found: Compared, rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    reference = found.reference
    order = [i for i in found.labels if i == reference or i in set(rows["a"])]
    neurons, n_all = _chosen(rows, len(order), seed)
    frames = {i: rows[rows["a"] == i].set_index(["layer", "neuron"]).reindex(neurons) for i in order if i != reference}
    of_reference = rows.drop_duplicates(["layer", "neuron"]).set_index(["layer", "neuron"]).reindex(neurons)
    quantities = []
    for quantity in _QUANTITIES:
        values = [_values(frames.get(i, of_reference), quantity, is_reference=i == reference) for i in order]
        if any(np.isfinite(v).any() for v in values[:1]):
            quantities.append(_packed(quantity, values))
    return {
        "labels": [_shown(found.labels[i]) for i in order], "reference": order.index(reference),
        "layers": neurons.get_level_values(0).tolist(), "neurons": neurons.get_level_values(1).tolist(),
        "n_all": n_all, "quantities": quantities, "cka": _cka(found, order),
        "n_tokens": found.facts["n_tokens"], "n_cka_tokens": found.facts["n_cka_tokens"],
    }  # fmt: skip


def _chosen(rows: pd.DataFrame, n_frames: int, seed: int) -> tuple[pd.MultiIndex, int]:
    """All neurons, or as many at random as there is room for; and how many there are."""
    every = pd.MultiIndex.from_frame(rows[["layer", "neuron"]].drop_duplicates()).sort_values()
    most = max(1, MOST_DOTS // n_frames)
    if len(every) <= most:
        return every, len(every)
    picked = np.sort(np.random.default_rng([seed, 6]).permutation(len(every))[:most])
    return every[picked], len(every)


def _values(frame: pd.DataFrame, quantity: _Quantity, *, is_reference: bool) -> np.ndarray:
    column = quantity.columns[int(is_reference)]
    if column is None:  # the reference with itself
        return np.where(frame[quantity.columns[0]].isna(), np.nan, 1.0)
    return np.asarray(frame[column], np.float64)


def _packed(quantity: _Quantity, values: list[np.ndarray]) -> dict[str, Any]:
    """Values in the scale of the axis as 16-bit numbers between the smallest and the largest, one text per frame."""
    every = np.concatenate(values)
    unit = float(np.nanmedian(np.abs(every))) or 1.0
    scaled = [_scaled(v, quantity.scale, unit) for v in values]
    every = np.concatenate(scaled)
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    if quantity.columns[1] is None or quantity.name == "rate":
        low, high = min(low, 0.0), max(high, 1.0)
    span = high - low or 1.0
    texts = []
    for v in scaled:
        whole = np.where(np.isnan(v), _MISSING, np.round((np.nan_to_num(v, nan=low) - low) / span * (_MISSING - 1)))
        texts.append(base64.b64encode(whole.astype("<u2").tobytes()).decode("ascii"))
    return {
        "name": quantity.name, "title": quantity.title, "scale": quantity.scale, "unit": unit, "low": low,
        "high": low + span, "frames": texts,
    }  # fmt: skip


def _scaled(values: np.ndarray, scale: str, unit: float) -> np.ndarray:
    if scale == "asinh":
        return np.arcsinh(values / unit)
    if scale == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)
    return values


def _cka(found: Compared, order: list[int]) -> dict[str, Any] | None:
    """Debiased CKA by layer and checkpoint; the reference is 1."""
    rows = found.to_reference(MODELS)
    if rows.empty:
        return None
    reference = found.reference
    lines = []
    for layer, own in rows.groupby("layer", sort=True):
        own = own.set_index("a").reindex(order)
        values = own[["debiased_cka", "low", "high"]].to_numpy(float).copy()
        values[order.index(reference)] = 1
        lines.append({"layer": None if layer == ALL_LAYERS else layer, "values": values[:, 0], "low": values[:, 1],
                      "high": values[:, 2]})  # fmt: skip
    whole = rows[rows["layer"] == ALL_LAYERS]
    null = [float((whole["null_mean"] + sign * 2 * whole["null_sd"]).mean()) for sign in (-1, 1)]
    return {"lines": lines, "null": null}


def _shown(text: str) -> str:
    shown = escape(encodable(text))
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1] + "…"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
