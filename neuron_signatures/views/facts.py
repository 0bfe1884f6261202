"""What the results of a run say about one neuron: signatures, write scores, explanations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import STAGE_FOLDERS
from neuron_signatures.runs.results import (
    SIGNATURES,
    TOP_STEM,
    iter_arrow,
    list_influence,
    read_json,
    write_scores_name,
)
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.odd import odd_is_broken, whole

_SIGNATURE_COLUMNS = (
    "layer", "neuron", "pole", "class", "name", "n_active", "max_peak", "mode_peak_token", "main_consistency",
    "main_consistency_low", "main_consistency_high", "func_vs_sem", "seed_cosine", "depth",
)  # fmt: skip


class Signature(NamedTuple):
    """One pole of a neuron as stage 2 classified it; numbers are None where they are undefined."""

    pole: str
    cls: str
    name: str | None
    n_active: int
    max_peak: float | None
    mode_peak_token: str | None
    """Raw."""
    consistency: float | None
    """Share of the active prompts whose peak is on the most frequent token, with its 95 % Wilson interval."""
    low: float | None
    high: float | None
    func_vs_sem: float | None
    seed_cosine: float | None


class Written(NamedTuple):
    """A token and how far the neuron pushes it."""

    token: str
    token_id: int
    score: float


class WriteScores(NamedTuple):
    """What one neuron promotes and suppresses, as measured at one position of one prompt."""

    source: str
    """Stem of the result that they came with."""
    prompt_id: str
    pos: int
    unit: str
    activation: float
    promotes: list[Written]
    suppresses: list[Written]


def stages_of(run_dir: Path) -> tuple[str, ...]:
    """Which stages have left a folder in the run, in their order."""
    return tuple(name for name in STAGE_FOLDERS if (run_dir / name).is_dir())


def signatures_of(run_dir: Path, at: NeuronAt) -> list[Signature]:
    """Both poles, `+` first. Raises `UsageError` if they have not been made, `BadRunError` if they are damaged."""
    import pyarrow.compute as pc

    rows: list[dict[str, Any]] = []
    with odd_is_broken(SIGNATURES):
        for batch in iter_arrow(run_dir, SIGNATURES, columns=_SIGNATURE_COLUMNS):
            is_it = pc.and_(pc.equal(batch["layer"], at.layer), pc.equal(batch["neuron"], at.neuron))
            rows += batch.filter(is_it).to_pylist()
        return sorted(signature_of(r) for r in rows)


def signature_of(row: Mapping[str, Any]) -> Signature:
    """A row of the table of signatures, by its column names. Raises `TypeError` or `ValueError` for values of another
    type.
    """
    name, token = (None if row[k] is None else _text(row[k]) for k in ("name", "mode_peak_token"))
    numbers = ("max_peak", "main_consistency", "main_consistency_low", "main_consistency_high", "func_vs_sem",
               "seed_cosine")  # fmt: skip
    peak, *rest = (None if row[k] is None else float(row[k]) for k in numbers)
    return Signature(_text(row["pole"]), _text(row["class"]), name, whole(row["n_active"]), peak, token, *rest)


def write_scores_of(run_dir: Path, at: NeuronAt) -> list[WriteScores]:
    """What is stored about the neuron: one per result that was made with `--write_scores`; newest results are not
    preferred, stems ascend. Raises `BadRunError` for a damaged one.
    """
    found = []
    for stem in [*list_influence(run_dir), TOP_STEM]:
        try:
            record = read_json(run_dir, write_scores_name(stem))
        except UsageError:
            continue
        with odd_is_broken(write_scores_name(stem)):
            entry = next((n for n in record["neurons"] if (n["layer"], n["neuron"]) == at), None)
            if entry is not None:
                found.append(_write_scores(stem, record, entry))
    return found


def _write_scores(stem: str, record: dict[str, Any], entry: dict[str, Any]) -> WriteScores:
    up, down = (
        [Written(_text(w["token"]), whole(w["token_id"]), float(w["score"])) for w in entry[k]]
        for k in ("promotes", "suppresses")
    )
    at = _text(record["prompt_id"]), whole(record["pos"])
    return WriteScores(stem, *at, _text(record["unit"]), float(entry["activation"]), up, down)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value
