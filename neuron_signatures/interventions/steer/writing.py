"""The files of a dose-response: the record, the table of doses, and the figure."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.interventions.names import STAGE
from neuron_signatures.interventions.steer.doses import MeasuredDose
from neuron_signatures.interventions.steer.figure import draw
from neuron_signatures.interventions.steer.naming import settings_of
from neuron_signatures.interventions.steer.request import SteerRequest
from neuron_signatures.interventions.steer.response import Breaks, Found, Response
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.intervention_records import PromptText, SideEffects
from neuron_signatures.runs.results import ResultsWriter, meta_name
from neuron_signatures.runs.stage_record import stage_record
from neuron_signatures.runs.tokens import encodable


class Measured(NamedTuple):
    """Everything that was measured, in ascending order of the amounts; `side_effects_at` is the amount of the side
    effects, None if there are none."""

    what: str
    unit: str
    what_is_random: str
    doses: list[MeasuredDose]
    response: Response
    breaks: Breaks
    found: Found
    side_effects: SideEffects | None
    side_effects_at: float | None
    verdict: str
    warnings: list[str]


def write_steer(writer: ResultsWriter, stem: str, request: SteerRequest, found: Measured) -> dict[str, Any]:
    """Write `stem.json`, `.parquet`, `.csv`, `.png` and last the record, which is returned with the doses."""
    record = steer_record(request, found)
    writer.begin(meta_name(stem))
    writer.json(f"{stem}.json", record)
    writer.table(stem, doses_frame(found))
    with writer.file(f"{stem}.png") as f:
        draw(found.doses, found.breaks, f, target=request.resolved.facts.target.token, what=found.what)
    writer.record(meta_name(stem), {k: v for k, v in record.items() if k not in ("doses", "side_effects")})
    return record


def steer_record(request: SteerRequest, found: Measured) -> dict[str, Any]:
    """The content of `steer_*.json`: a `SteerRecord`, with settings and what else a reader needs to repeat it."""
    checked = request.checked
    return stage_record(
        checked.run,
        "steer",
        settings_of(request),
        stage=STAGE,
        prompt=_prompt(request).model_dump(),
        target=target_record(request.resolved),
        analysis_dtype=checked.model.spec.dtype,
        analysis_device=str(checked.model.device),
        agreement={"worst": checked.agreement.worst, "tolerance": checked.agreement.tolerance},
        what=found.what,
        unit=found.unit,
        doses=[d.dose.model_dump() for d in found.doses],
        monotone=found.response.monotone,
        spearman=found.response.spearman,
        turns_at=found.response.turns_at,
        breaks_below=found.breaks.below,
        breaks_above=found.breaks.above,
        broken=list(found.breaks.broken),
        break_factor=request.break_factor,
        effects_at=list(found.found.alphas),
        smallest_p=found.found.smallest,
        n_tested=found.found.n_tested,
        side_effects=found.side_effects.model_dump() if found.side_effects else None,
        side_effects_at=found.side_effects_at,
        verdict=found.verdict,
        warnings=[*checked.warnings, *request.resolved.warnings, *found.warnings],
    )


def doses_frame(found: Measured) -> pd.DataFrame:
    """One row per amount. `value` is the target function, `change` is from the unsteered one; p before Bonferroni."""
    clean = next(d for d in found.doses if d.dose.alpha == 0).value
    rows = []
    for d in found.doses:
        p, null = d.dose.prediction, d.dose.null
        rows.append(
            {
                "alpha": d.dose.alpha,
                "value": d.value,
                "difference": p.difference,
                "change": d.value - clean,
                "logprob": p.logprob,
                "probability": p.probability,
                "rank": p.rank,
                "kl": p.kl,
                "top_token": encodable(p.top[0].token),
                "top_probability": p.top[0].probability,
                "perplexity": d.dose.perplexity,
                "broken": d.dose.alpha in found.breaks.broken,
                "random_n": null.n if null else None,
                "random_mean": null.mean if null else None,
                "random_std": null.std if null else None,
                "random_low": null.low if null else None,
                "random_high": null.high if null else None,
                "p": null.p if null else None,
                "text": encodable(d.dose.text),
            }
        )
    frame = pd.DataFrame(rows)
    numbers = ["perplexity", *(c for c in frame if c.startswith("random_")), "p"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _prompt(request: SteerRequest) -> PromptText:
    prompt = request.checked.prompt
    model = request.checked.model
    ids = list(prompt.token_ids)
    return PromptText(
        prompt_id=prompt.probe_id,
        text=encodable(prompt.text),
        tokens=[encodable(t) for t in token_strings(model.tokenizer, ids)],
        token_ids=ids,
        answer_id=request.resolved.target.token_id,
        answer=encodable(request.resolved.facts.target.token),
    )
