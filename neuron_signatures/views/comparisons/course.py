"""The course of a model and of a neuron over the checkpoints of a comparison, each against the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuron_signatures.runs.comparisons.folder import CHECKPOINTS, DRIFT, MODELS, comparison_folder
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

_WITH_SIDES = ("mean", "std", "rate")


class Checkpoint(NamedTuple):
    """A run of the comparison."""

    number: int
    """In the tables of the comparison."""
    label: str
    run: str
    model: str
    is_reference: bool
    n_prompts: int | None
    n_tokens: int | None
    loss: float | None

    @property
    def name(self) -> str:
        """For display."""
        return brief(self.label) or str(self.number)


class CkaPoint(NamedTuple):
    """Linear CKA of one layer of a checkpoint with the reference; undefined numbers are None."""

    checkpoint: int
    layer: int
    cka: float | None
    debiased: float | None
    low: float | None
    high: float | None
    null_mean: float | None
    null_sd: float | None
    p: float | None
    n_null: int | None


class NeuronPoint(NamedTuple):
    """A neuron at one checkpoint. The similarities are with the reference; of the reference itself they are None."""

    checkpoint: int
    mean: float | None
    std: float | None
    rate: float | None
    pearson: float | None
    jaccard: float | None
    cos_in: float | None
    cos_gate: float | None
    cos_out: float | None


def read_checkpoints(run_dir: Path, name: str) -> list[Checkpoint]:
    """The runs in order. Raises `BadRunError` if none is the reference."""
    rows = comparison_folder(name).read_table(run_dir, CHECKPOINTS).to_dict("records")
    found = [
        Checkpoint(int(r["checkpoint"]), str(r["label"] or ""), str(r["run"] or ""), str(r["model_name"] or ""),
                   bool(r["reference"]), _whole(r["n_prompts"]), _whole(r["n_tokens"]), _number(r["loss"]))
        for r in rows
    ]  # fmt: skip
    if not any(c.is_reference for c in found):
        where = str(run_dir / comparison_folder(name).folder)
        raise BadRunError("names no run as the reference", where=where, next_step="Compare the runs again")
    return sorted(found)


def reference_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    return next(c for c in checkpoints if c.is_reference)


def read_cka(run_dir: Path, name: str, checkpoints: Sequence[Checkpoint]) -> list[CkaPoint]:
    """CKA of every layer of every checkpoint with the reference, in order of layer and checkpoint."""
    ref = reference_of(checkpoints).number
    rows = comparison_folder(name).read_table(run_dir, MODELS).to_dict("records")
    found = {}
    for r in rows:
        other = other_of(r, ref)
        if other is not None:
            found[int(r["layer"]), other] = CkaPoint(
                other, int(r["layer"]), _number(r["cka"]), _number(r["debiased_cka"]), _number(r["low"]),
                _number(r["high"]), _number(r["null_mean"]), _number(r["null_sd"]), _number(r["p"]),
                _whole(r["n_null"]),
            )  # fmt: skip
    return [found[key] for key in sorted(found)]


def neuron_course(run_dir: Path, name: str, checkpoints: Sequence[Checkpoint], at: NeuronAt) -> list[NeuronPoint]:
    """A neuron at every checkpoint; empty if the comparison does not have it."""
    ref = reference_of(checkpoints).number
    rows = comparison_folder(name).rows_where(run_dir, DRIFT, layer=[at.layer], neuron=[at.neuron])
    found: dict[int, NeuronPoint] = {}
    for r in rows:
        other = other_of(r, ref)
        if other is None:
            continue
        side, ref_side = ("a", "b") if r["a"] == other else ("b", "a")
        mean, std, rate = (_number(r[f"{k}_{side}"]) for k in _WITH_SIDES)
        pearson, jaccard = _number(r["pearson"]), _number(r["jaccard"])
        cosines = (_number(r[f"cos_{k}"]) for k in ("in", "gate", "out"))
        found[other] = NeuronPoint(other, mean, std, rate, pearson, jaccard, *cosines)
        if ref not in found and other != ref:
            mean, std, rate = (_number(r[f"{k}_{ref_side}"]) for k in _WITH_SIDES)
            found[ref] = NeuronPoint(ref, mean, std, rate, None, None, None, None, None)
    return [found[i] for i in sorted(found)]


def of_pair(parts: Iterable[pd.DataFrame], a: int, b: int) -> pd.DataFrame:
    """The rows of two runs, in either order, from the parts of a table."""
    import pandas as pd

    kept = [f[((f["a"] == a) & (f["b"] == b)) | ((f["a"] == b) & (f["b"] == a))] for f in parts]
    return pd.concat(kept, ignore_index=True).drop_duplicates(["layer", "neuron"]) if kept else pd.DataFrame()


def other_of(row: Mapping[str, Any], reference: int) -> int | None:
    """The run that a row compares with the reference; None for a row about two other runs."""
    a, b = int(row["a"]), int(row["b"])
    return a if b == reference else b if a == reference else None


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _whole(value: Any) -> int | None:
    return None if value is None or value != value else int(value)
