"""Writes the files of a swap: the table of all cells, the record, a figure, and the stage record last."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd

from neuron_signatures.interventions.choice.alignment import THAT_MATTER
from neuron_signatures.interventions.figure import new_figure
from neuron_signatures.interventions.names import (
    DEFAULT_MAX_K,
    DEFAULT_N_RANDOM,
    DEFAULT_SEED,
    STAGE,
)
from neuron_signatures.interventions.setup import Setup
from neuron_signatures.interventions.swap.collect import Collected
from neuron_signatures.interventions.swap.request import SwapRequest
from neuron_signatures.runs.intervention_records import SwapPair, SwapRecord
from neuron_signatures.runs.names import safe_id
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import ResultsWriter, meta_name, shortened
from neuron_signatures.runs.stage_record import stage_record

if TYPE_CHECKING:
    from neuron_signatures.interventions.swap.run import SwapOutcome


def swap_stem(setup: Setup, request: SwapRequest, collected: Collected) -> str:
    """The name of the files: prompts (or the file of pairs), and what differs from its default."""
    first = collected.own[0]
    if request.pairs_json is not None:
        what = f"{safe_id(request.pairs_json.stem)}-{_digest([p.id for p in collected.own])}"
    else:
        source = first.source.prompt
        of = source.prompt_id or f"text-{_digest(source.token_ids)}"
        answers = f"tok{first.source_answer}_foil{first.destination_answer}"
        what = f"{safe_id(setup.prompt.prompt_id or '')}_from_{safe_id(of)}_{answers}"
    limits = request.limits
    default_roles = tuple(r for r in first.roles if r in THAT_MATTER) == first.roles
    parts = [
        "swap",
        what,
        "" if default_roles else "at-" + ".".join(first.roles),
        f"held-out-{_digest([p.id for p in collected.held_out])}" if collected.held_out else "",
        f"wrong-{_digest(collected.wrong.token_ids)}" if collected.wrong else "",
        "" if limits.max_k == DEFAULT_MAX_K else f"max{limits.max_k}",
        "" if limits.block is None else f"block{limits.block}",
        "" if request.n_random == DEFAULT_N_RANDOM else f"random{request.n_random}",
        "" if request.seed == DEFAULT_SEED else f"seed{request.seed}",
        request.neutral.label,
        "" if setup.dtype == "fp32" else setup.dtype,
    ]
    return shortened("_".join(p for p in parts if p))


def swap_settings(setup: Setup, request: SwapRequest, collected: Collected) -> dict[str, Any]:
    """The resolved settings, for the record and for resuming."""
    return {
        "run": setup.checked.run,
        "pairs": [
            {"id": p.id, "destination": list(p.destination.prompt.token_ids),
             "source": list(p.source.prompt.token_ids), "answers": [p.source_answer, p.destination_answer],
             "places": [list(x) for x in p.places]}
            for p in collected.own
        ],
        "held_out": [p.id for p in collected.held_out],
        "wrong_source": None if collected.wrong is None else collected.wrong.text,
        "limits": asdict(request.limits),
        "n_random": request.n_random,
        "seed": request.seed,
        "neutral": request.neutral.record(),
        "dtype": setup.dtype,
    }  # fmt: skip


def write_swap(writer: ResultsWriter, outcome: SwapOutcome) -> None:
    """Write `stem.parquet`, `.csv`, `.json`, `.png` and last the stage record."""
    stem, run = outcome.stem, outcome.setup.checked.run
    warnings = [*outcome.setup.checked.warnings, *outcome.collected.warnings]
    settings = swap_settings(outcome.setup, outcome.request, outcome.collected)
    meta = stage_record(run, "swap", settings, stage=STAGE, verdict=outcome.verdict, warnings=warnings)
    record = SwapRecord.model_validate(
        strict(
            {
                **{k: meta[k] for k in ("stage", "mode", "created_at_utc", "run")},
                "warnings": [w[:1000] for w in warnings],
                "pairs": [p.model_dump(by_alias=True) for p in outcome.pairs],
                "summary": outcome.summary.model_dump() if outcome.summary else None,
                "shared": outcome.shared.model_dump() if outcome.shared else None,
                "verdict": outcome.verdict,
            }
        )
    )
    writer.begin(meta_name(stem))
    writer.table(stem, swap_frame(outcome.pairs))
    writer.json(f"{stem}.json", record.model_dump())
    with writer.file(f"{stem}.png") as f:
        _draw(outcome, f)
    writer.record(meta_name(stem), meta)


def swap_frame(pairs: tuple[SwapPair, ...]) -> pd.DataFrame:
    """One row per pair and cell up to the fewest that flip, in the order in which they were chosen."""
    rows = []
    for pair in pairs:
        after = {row.k: row for row in pair.curve}
        for k, cell in enumerate(pair.cells, 1):
            row = after[k]
            rows.append(
                {"pair": pair.id, "k": k, **cell.model_dump(), "difference": row.difference,
                 "source_probability": row.source_probability, "destination_probability": row.destination_probability,
                 "source_rank": row.source_rank, "destination_rank": row.destination_rank}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _draw(outcome: SwapOutcome, file: BinaryIO) -> None:
    figure, axes = new_figure()
    if outcome.summary is None:
        pair = outcome.pairs[0]
        k = [r.k for r in pair.curve]
        axes.plot(k, [r.difference for r in pair.curve], label="patched, in the order of the search")
        axes.plot(k, [pair.difference_before + r.predicted for r in pair.curve], "--", label="predicted by attribution")
        start = pair.difference_before
        band = pair.band
        axes.fill_between([b.k for b in band], [start + b.low for b in band], [start + b.high for b in band], alpha=0.3,
                          color="0.5", label="random sets of the same norms, 5-95 %")  # fmt: skip
        if pair.smallest_k:
            axes.axvline(pair.smallest_k, color="0.4", linewidth=0.8, linestyle=":")
        axes.set(xlabel="cells patched (k)", ylabel="difference of logits, source - destination answer")
    else:
        shared = outcome.shared
        lines = [(outcome.summary.flipped_by_k, "cells of its own")]
        if shared is not None:
            lines += [(shared.selection, "one list, selection pairs"), (shared.held_out, "one list, held-out pairs")]
        for rows, name in lines:
            if rows:
                (line,) = axes.plot([r.k for r in rows], [r.share for r in rows], label=name)
                axes.fill_between([r.k for r in rows], [r.low for r in rows], [r.high for r in rows], alpha=0.2,
                                  color=line.get_color())  # fmt: skip
        axes.set(xlabel="cells patched (k)", ylabel="share of pairs flipped", ylim=(0, 1.02), xscale="log")
    axes.legend(fontsize=8)
    figure.savefig(file, format="png", dpi=130)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]
