"""The results of a run about one neuron: signatures and write scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import STAGE_FOLDERS
from neuron_signatures.runs.result_records import NeuronWriteScores, WriteScoresRecord, read_record
from neuron_signatures.runs.results import SIGNATURES, TOP_STEM, list_influence, write_scores_name
from neuron_signatures.views.columns import rows_of_neuron
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.writes import WriteScores, Written, writes_of

# After layer and neuron, the fields of `Signature` in order.
SIGNATURE_COLUMNS = (
    "layer", "neuron", "pole", "class", "name", "n_texts", "n_active", "max_peak", "mode_peak_token",
    "main_consistency", "main_consistency_low", "main_consistency_high", "func_vs_sem", "seed_cosine",
)  # fmt: skip


class Signature(NamedTuple):
    """One pole of a neuron as stage 2 classified it; numbers are None where they are undefined."""

    pole: str
    cls: str
    name: str | None
    n_texts: int
    """Number of different texts that the class rests on."""
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


def stages_of(run_dir: Path) -> tuple[str, ...]:
    """The stages that have a folder in the run, in pipeline order."""
    return tuple(name for name in STAGE_FOLDERS if (run_dir / name).is_dir())


def signatures_of(run_dir: Path, at: NeuronAt) -> list[Signature]:
    """Both poles, `+` first. Raises `UsageError` if they have not been made, `BadRunError` if they are damaged."""
    return sorted(signature_of(r) for r in rows_of_neuron(run_dir, SIGNATURES, SIGNATURE_COLUMNS, at))


def signature_of(row: Mapping[str, Any]) -> Signature:
    """A row of the signature table, given by column names."""
    return Signature(*(row[name] for name in SIGNATURE_COLUMNS[2:]))


def write_scores_of(run_dir: Path, at: NeuronAt) -> list[WriteScores]:
    """The neuron's write scores in every result made with `--write_scores`, in order of the results' stems.

    If there are none, those of `--mode write_scores`, which need no prompt. Raises `BadRunError` for a damaged file.
    """
    found = []
    for stem in [*list_influence(run_dir), TOP_STEM]:
        try:
            record = read_record(run_dir, write_scores_name(stem), WriteScoresRecord)
        except UsageError:
            continue
        own = next((n for n in record.neurons if (n.layer, n.neuron) == at), None)
        if own is not None:
            found.append(_write_scores(stem, record, own))
    if not found and (own_weights := writes_of(run_dir, at)) is not None:
        found.append(own_weights)
    return found


def _write_scores(stem: str, record: WriteScoresRecord, own: NeuronWriteScores) -> WriteScores:
    promotes, suppresses = (
        [Written(w.token, w.token_id, w.score) for w in tokens] for tokens in (own.promotes, own.suppresses)
    )
    return WriteScores(stem, record.prompt_id, record.pos, record.unit, own.activation, promotes, suppresses)
