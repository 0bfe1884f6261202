"""Writes the files of `--mode peaks`: the table of all neurons, the selected ones, and the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.analysis.peaks.analyze import PeaksResult
from neuron_signatures.analysis.selection import Selection, SelectionConfig, select
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import (
    ANALYSIS_META,
    NEURONS,
    TOP_NEURONS,
    TOP_STEM,
    ResultsWriter,
    partial_name,
    write_scores_name,
)
from neuron_signatures.runs.stage_record import stage_record

DEFAULT_RANK_BY = "mean_peak_abs"


class WrittenPeaks(NamedTuple):
    """The stage record, and the selected neurons as in `top_neurons.json`."""

    record: dict[str, Any]
    top: list[dict[str, Any]]


def write_peaks(
    writer: ResultsWriter,
    result: PeaksResult,
    selection: SelectionConfig,
    *,
    rank_by: str = DEFAULT_RANK_BY,
    write_scores: Callable[[Sequence[tuple[int, int]]], dict[str, Any]] | None = None,
) -> WrittenPeaks:
    """Write `neurons_aggregated`, `top_neurons.json` and last `analysis_meta.json`; then remove the stored layers.

    `write_scores` returns the write scores of (layer, neuron) pairs, which are then part of the result.
    Raises `UsageError` before anything is written if `rank_by` is not a numeric column or the selection is invalid.
    """
    chosen = select_rows(result.frame, selection, rank_by=rank_by)
    top = selected_rows(result.frame, chosen)
    record = peaks_record(result, selection, chosen, rank_by)
    tokens = write_scores([(n["layer"], n["neuron"]) for n in top]) if write_scores else None
    writer.begin(ANALYSIS_META, companions=[write_scores_name(TOP_STEM)])
    writer.table(NEURONS, result.frame)
    writer.json(
        TOP_NEURONS, {"rank_by": rank_by, "selection": asdict(selection), "total": chosen.total, "neurons": top}
    )
    if tokens is not None:
        writer.json(write_scores_name(TOP_STEM), tokens)
    writer.record(ANALYSIS_META, record)
    writer.remove(partial_name(NEURONS))
    return WrittenPeaks(record, top)


def select_rows(frame: pd.DataFrame, selection: SelectionConfig, *, rank_by: str) -> Selection:
    """The rows with the largest values of the numeric column `rank_by`; see `select`."""
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if rank_by not in numeric:
        what = f"--rank_by {rank_by!r} is not a numeric column"
        raise UsageError(what, next_step=f"Use one of {', '.join(numeric)}")
    score = frame[rank_by].to_numpy(dtype=np.float64, na_value=np.nan)
    return select(score, frame["layer"].to_numpy(), frame["neuron"].to_numpy(), selection)


def selected_rows(frame: pd.DataFrame, chosen: Selection) -> list[dict[str, Any]]:
    """The chosen rows in order, each with its `rank` (from 1), `share` and `cumulative_share`."""
    rows = frame.iloc[chosen.rows].copy()
    rows.insert(0, "rank", range(1, len(rows) + 1))
    rows["share"], rows["cumulative_share"] = chosen.share, chosen.cumulative_share
    records: list[dict[str, Any]] = strict(rows.to_dict("records"))
    return records


def peaks_record(result: PeaksResult, selection: SelectionConfig, chosen: Selection, rank_by: str) -> dict[str, Any]:
    """The stage record: settings, the tokens counted, the values ignored, the number of neurons selected."""
    config = result.config
    settings = {
        "first_pos": config.first_pos,
        "include_bos": config.include_bos,
        "act_threshold": config.act_threshold,
        "functional_tokens": config.functional.source,
        "n_functional_tokens": len(config.functional.directions),
        "rank_by": rank_by,
        **asdict(selection),
    }
    return stage_record(
        result.run,
        "peaks",
        settings,
        **result.counted.record(),
        n_neurons=len(result.frame),
        n_nonfinite=sum(result.nonfinite.values()),
        nonfinite_by_prompt=result.nonfinite,
        n_selected=len(chosen.rows),
        selected_share=float(chosen.share.sum()) if len(chosen.rows) else 0.0,
        total=chosen.total,
        warnings=peaks_warnings(result, chosen),
    )


def peaks_warnings(result: PeaksResult, chosen: Selection) -> list[str]:
    """Warnings for readers of the ranking."""
    out = result.counted.warnings()
    if result.nonfinite:
        n = sum(result.nonfinite.values())
        out.append(f"{n} values in {len(result.nonfinite)} prompts are NaN or infinite and are ignored")
    if not len(chosen.rows):
        out.append("no neuron is selected")
    return out
