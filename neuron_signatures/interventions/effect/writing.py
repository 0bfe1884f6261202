"""Writes the files of an effect: the table of single neurons, the record, a figure, and the stage record last."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd

from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.interventions.controls.random_sets import delta_norms, write_norms
from neuron_signatures.interventions.effect.request import NEED_VALUE
from neuron_signatures.interventions.effect.resample import RESAMPLE
from neuron_signatures.interventions.figure import new_figure
from neuron_signatures.interventions.names import DEFAULT_N_RANDOM, DEFAULT_SEED, STAGE, label_of, stem_of
from neuron_signatures.runs.intervention_records import Cell, EffectRecord
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import ResultsWriter, meta_name
from neuron_signatures.runs.stage_record import stage_record

if TYPE_CHECKING:
    from neuron_signatures.interventions.effect.run import EffectOutcome, Planned

_MOST_CELLS = 2000
_MOST_BARS = 30


def effect_stem(planned: Planned) -> str:
    """The name of the files: the prompt, the edit, the neurons, the target, and what differs from its default."""
    r, target = planned.request, planned.resolved.target
    positions = planned.problem.positions
    value = f"{r.value:g}" if r.kind in NEED_VALUE else ""
    parts = [
        "all" if planned.is_screening else label_of([c.label for c in planned.chosen]),
        f"ref-{_reference_label(planned.reference)}" if planned.reference and not planned.reference.is_zero else "",
        f"source-{planned.source.prompt_id or _digest(planned.source.text)}" if planned.source else "",
        "" if positions == (target.pos,) else "at" + spans(positions, to="-", between="."),
        "" if target.function == "pre_cap_logit" else target.function,
        "" if r.n_random == DEFAULT_N_RANDOM else f"random{r.n_random}",
        "" if r.seed == DEFAULT_SEED else f"seed{r.seed}",
        r.neutral.label,
        "" if planned.setup.dtype == "fp32" else planned.setup.dtype,
    ]
    prompt_id = planned.setup.prompt.prompt_id
    assert prompt_id is not None
    return stem_of("effect", prompt_id, r.kind + value, target, parts)


def effect_settings(planned: Planned) -> dict[str, Any]:
    """The resolved settings, for the record and for resuming."""
    r, source = planned.request, planned.source
    return {
        "run": planned.setup.checked.run,
        "prompt_id": planned.setup.prompt.prompt_id,
        "edit": r.kind,
        "value": r.value,
        "neurons": "all" if planned.is_screening else [c.label for c in planned.chosen],
        "from": r.neurons.from_list,
        "positions": list(planned.problem.positions),
        "target": asdict(planned.resolved.target),
        "reference": planned.reference.name if planned.reference else None,
        "reference_run": planned.reference.run if planned.reference else None,
        "reference_records": planned.reference.record()["reference_records"] if planned.reference else None,
        "source": None if source is None else {"prompt_id": source.prompt_id, "token_ids": list(source.token_ids)},
        "n_random": r.n_random,
        "seed": r.seed,
        "neutral": r.neutral.record(),
        "dtype": planned.setup.dtype,
    }


def write_effect(writer: ResultsWriter, outcome: EffectOutcome) -> None:
    """Write `stem.parquet`, `.csv`, `.json`, `.png` and last the stage record."""
    stem = outcome.stem
    full = effect_record(outcome)
    meta = stage_record(
        outcome.planned.setup.checked.run, "effect", effect_settings(outcome.planned), stage=STAGE,
        verdict=outcome.verdict, warnings=list(outcome.planned.warnings),
    )  # fmt: skip
    writer.begin(meta_name(stem))
    writer.table(stem, effect_frame(outcome), plain=("pole",))
    writer.json(f"{stem}.json", full.model_dump())
    with writer.file(f"{stem}.png") as f:
        _draw(outcome, f)
    writer.record(meta_name(stem), meta)


def effect_record(outcome: EffectOutcome) -> EffectRecord:
    planned = outcome.planned
    setup, r = planned.setup, planned.request
    common = stage_record(planned.setup.checked.run, "effect", None, stage=STAGE)
    return EffectRecord.model_validate(
        strict(
            {
                **{k: common[k] for k in ("stage", "mode", "created_at_utc", "run")},
                "warnings": [w[:1000] for w in planned.warnings],
                "prompt": setup.prompt.record().model_dump(),
                "target": target_record(planned.resolved),
                "kind": r.kind,
                "value": value_text(planned),
                "positions": list(planned.problem.positions),
                "n_neurons": len(outcome.singles),
                "clean": outcome.clean.model_dump(),
                "as_set": outcome.as_set.model_dump() if outcome.as_set else None,
                "observed": outcome.controls.observed if outcome.controls else None,
                "controls": outcome.controls.model_dump() if outcome.controls else None,
                "side_effects": outcome.side_effects.model_dump() if outcome.side_effects else None,
                "cells": [c.model_dump() for c in _cells(planned)],
                "verdict": outcome.verdict[:1000],
            }
        )
    )


def value_text(planned: Planned) -> str:
    """What the new activations are, in words."""
    r, number = planned.request, planned.request.value
    if planned.reference is not None:
        n = planned.reference.n_tokens
        if planned.reference.name == RESAMPLE:
            return f"each set to its activation at one of {n} tokens of other prompts"
        if n and planned.reference.records:
            return f"set to the mean over {planned.reference.records.text(n)}"
        over = f" over {n} tokens" if n and not planned.reference.is_zero else ""
        return f"set to {planned.reference.name}{over}"
    if planned.source is not None:
        name = planned.source.prompt_id or planned.source.text
        return f"set to their values in the source prompt {name[:200]}"
    if number is None:
        return "sign reversed"
    return {"set": f"set to {number:g}", "add": f"{number:+g}", "scale": f"times {number:g}"}[r.kind]


def _cells(planned: Planned) -> list[Cell]:
    """The changed cells, none for a screening."""
    if planned.is_screening:
        return []
    changes = planned.cells.changes[:_MOST_CELLS]
    norms = write_norms(planned.problem.hf, planned.setup.prompt.token_ids)
    columns = zip(
        changes.layer.tolist(), changes.neuron.tolist(), changes.pos.tolist(), changes.at(planned.acts).tolist(),
        changes.new_values(planned.acts).tolist(), delta_norms(changes, planned.acts, norms).tolist(), strict=True,
    )  # fmt: skip
    return [
        Cell(layer=layer, neuron=neuron, pos=pos, act=act, value=value, delta_norm=norm)
        for layer, neuron, pos, act, value, norm in columns
    ]


def effect_frame(outcome: EffectOutcome) -> pd.DataFrame:
    """One row per neuron, in the order of |effect|; columns as in docs/poc3.md."""
    rows = [
        {
            "layer": s.neuron.layer,
            "neuron": s.neuron.neuron,
            "pole": s.neuron.pole,
            "effect": s.value_effect,
            "act": s.act,
            "value": s.value,
            "delta_norm": s.delta_norm,
            "difference": s.difference,
            "logprob": s.logprob,
            "probability": s.probability,
            "rank_before": s.rank_before,
            "rank_after": s.rank_after,
            "kl": s.kl,
            "p": s.null.p if s.null else None,
            "z": s.null.z if s.null else None,
            "n_random": s.null.n if s.null else None,
            "n_cells": s.n_cells,
        }
        for s in outcome.singles
    ]
    frame = pd.DataFrame(rows)
    for column in ("p", "z"):
        frame[column] = frame[column].astype("float64")
    frame["n_random"] = frame["n_random"].astype("Int64")
    frame = frame.sort_values("effect", key=lambda c: -c.abs(), kind="stable", ignore_index=True)
    frame.insert(0, "rank", range(1, len(frame) + 1))
    return frame


def _draw(outcome: EffectOutcome, file: BinaryIO) -> None:
    """The largest single effects as bars, with the 5 to 95 % range of random neurons where it was measured."""
    shown = sorted(outcome.singles, key=lambda s: -abs(s.value_effect))[:_MOST_BARS][::-1]
    figure, axes = new_figure(height=1.5 + 0.22 * len(shown))
    for y, s in enumerate(shown):
        axes.barh(y, s.value_effect, color="#4477aa" if s.value_effect >= 0 else "#ee8833")
        if s.null is not None and s.null.low is not None and s.null.high is not None:
            axes.plot([s.null.low, s.null.high], [y, y], color="0.25", linewidth=2)
    axes.set(yticks=range(len(shown)), yticklabels=[s.neuron.label for s in shown],
             xlabel=f"effect on {outcome.planned.resolved.target.function}, edited minus clean (line: random, 5-95 %)",
             title=f"{outcome.planned.request.kind}: single neurons")  # fmt: skip
    axes.axvline(0, color="0.6", linewidth=0.8)
    figure.savefig(file, format="png", dpi=130)


def _reference_label(reference: Reference) -> str:
    return reference.records.label if reference.records else reference.name


def _digest(text: str) -> str:
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:8]
