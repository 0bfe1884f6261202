"""Every neuron of a comparison at every checkpoint, for an animated figure; of large models a sample of the neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.comparisons.folder import DRIFT, comparison_folder
from neuron_signatures.views.comparisons.course import Checkpoint, reference_of

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int64

MOST_NEURONS = 2000
_SEED = 0
_KEYS = ("a", "b", "layer", "neuron")
_VALUES = ("pearson", "cos_out", "std_a", "std_b")
_LAYER_STEP = 1 << 32


class Cloud(NamedTuple):
    """Neurons at the checkpoints other than the reference, one frame per checkpoint."""

    frames: tuple[tuple[Checkpoint, pd.DataFrame], ...]
    """With columns layer, neuron, `pearson` (with the reference) and `y`."""
    y_title: str
    n_shown: int
    n_neurons: int


def read_cloud(run_dir: Path, name: str, checkpoints: Sequence[Checkpoint]) -> Cloud:
    """Pearson of activations against the cosine of output weights, both with the reference; without weights, against
    the change of the standard deviation. Undefined points are left out."""
    import pandas as pd

    ref = reference_of(checkpoints).number
    neurons = _neurons(_with_reference(run_dir, name, ref, _KEYS))
    shown = neurons
    if len(neurons) > MOST_NEURONS:
        shown = np.sort(np.random.default_rng(_SEED).choice(neurons, MOST_NEURONS, replace=False))
    parts = _with_reference(run_dir, name, ref, (*_KEYS, *_VALUES))
    rows = pd.concat([f[np.isin(_key(f), shown)] for f in parts] or [pd.DataFrame(columns=[*_KEYS, *_VALUES])])
    rows = rows.assign(checkpoint=np.where(rows["b"] == ref, rows["a"], rows["b"]))
    by_weights = bool(rows["cos_out"].notna().any())
    rows = rows.assign(y=rows["cos_out"] if by_weights else _log_std(rows, ref))
    rows = rows[rows["pearson"].notna() & np.isfinite(rows["y"].astype(float))]
    frames = tuple((c, rows[rows["checkpoint"] == c.number][["layer", "neuron", "pearson", "y"]])
                   for c in checkpoints if not c.is_reference)  # fmt: skip
    title = "cosine of output weights with the reference" if by_weights else "log2 of std over that of the reference"
    return Cloud(frames, title, len(shown), len(neurons))


def _with_reference(run_dir: Path, name: str, ref: int, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows of pairs with the reference, in parts."""
    for part in comparison_folder(name).iter_table(run_dir, DRIFT, columns=columns):
        yield part[(part["a"] == ref) | (part["b"] == ref)]


def _neurons(parts: Iterator[pd.DataFrame]) -> Int64[np.ndarray, " neuron"]:
    found = [np.unique(_key(part)) for part in parts]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _key(rows: pd.DataFrame) -> Int64[np.ndarray, " row"]:
    key: np.ndarray = rows["layer"].to_numpy(np.int64) * _LAYER_STEP + rows["neuron"].to_numpy(np.int64)
    return key


def _log_std(rows: pd.DataFrame, ref: int) -> np.ndarray:
    own, other = (rows[c].to_numpy(float) for c in ("std_a", "std_b"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.log2(own / other)
    return np.where(rows["b"] == ref, ratio, -ratio)
