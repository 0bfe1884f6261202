"""What the stage prints: a few lines for a person, a record for a program."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from neuron_signatures.analysis.attribution.stage import InfluenceOutcome
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.signatures.analyze import SignatureResult
from neuron_signatures.analysis.validation.writing import table_lines, validation_summary
from neuron_signatures.runs.results import NEURONS, SIGNATURES, TOP_NEURONS, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import escape, fit, visible

_SHOWN = 10


def peaks_lines(run: Run, record: dict[str, Any]) -> list[str]:
    """What counted, how many neurons were selected, and the first of them."""
    top = read_json(run.path, TOP_NEURONS)["neurons"][:_SHOWN]
    lines = [f"{'rank':>4}  {'neuron':12}{'mean peak':>10}{'max peak':>10}  most often at"]
    for row in top:
        token = fit(visible(row["mode_peak_token"] or ""), 16)
        often = f"{row['mode_peak_token_count']} of {record['n_prompts']}"
        name = neuron_name(row["layer"], row["neuron"])
        mean, largest = (_number(row[c]) for c in ("mean_peak_abs", "max_peak_abs"))
        lines.append(f"{row['rank']:>4}  {name:12}{mean:>10}{largest:>10}  {token} {often}")
    return [
        *lines,
        "",
        f"counted  {record['n_prompts']} prompts, {record['n_tokens']} tokens; {record['bos_rule']}",
        f"selected {record['n_selected']} of {record['n_neurons']} neurons by {record['settings']['rank_by']}, "
        f"{_percent(record['selected_share'])} of its total",
        *_warnings(record["warnings"]),
        f"written  {escape(str(run.path))}/analysis: {NEURONS}.csv, {NEURONS}.parquet, {TOP_NEURONS}",
    ]


def influence_lines(run: Run, outcome: InfluenceOutcome) -> list[str]:
    """The target, the first neuron of each metric, the validation's table."""
    target, facts = outcome.resolved.target, outcome.resolved.facts
    foil = f" against {visible(facts.foil.token)!r}" if facts.foil else ""
    lines = [
        f"prompt   {escape(outcome.prompt_id)}, position {target.pos}",
        f"target   {visible(facts.target.token)!r} (id {target.token_id}){foil}: {target.function} {facts.value:.3f}, "
        f"probability {facts.target.probability:.3f}, rank {facts.target.rank}",
        f"top      {', '.join(f'{visible(t.token)!r} {t.probability:.3f}' for t in facts.top)}",
        "",
        f"{'metric':18}{'selected':>9}{'share':>8}  first neuron",
    ]
    for m in outcome.metrics:
        first = ""
        if m.top:
            name = neuron_name(m.top["layer"], m.top["neuron"])
            first = f"{name} {m.top['influence']:+.3f} (act {m.top['activation']:+.3f} at {m.top['ctx_idx']})"
        lines.append(f"{m.metric:18}{m.n_selected:>9}{_percent(m.selected_share):>8}  {first}")
    if outcome.validation:
        lines += ["", *table_lines(outcome.validation)]
    warnings = [f"{m.metric}: {w}" for m in outcome.metrics for w in m.warnings]
    lines += ["", *_warnings([*warnings, *(f"validation: {w}" for w in outcome.validation_warnings)])]
    stems = [m.stem for m in outcome.metrics] + ([outcome.validation_stem] if outcome.validation_stem else [])
    return [*lines, f"written  {escape(str(run.path))}/analysis:", *(f"         {escape(stem)}.*" for stem in stems)]


def influence_summary(run: Run, outcome: InfluenceOutcome) -> dict[str, Any]:
    """The same as a record."""
    from neuron_signatures.runs.plain import strict

    summary: dict[str, Any] = strict(
        {
            "run": str(run.path),
            "prompt_id": outcome.prompt_id,
            "target": target_record(outcome.resolved),
            "metrics": [asdict(m) for m in outcome.metrics],
            "validation": validation_summary(outcome.validation) if outcome.validation else None,
            "validation_stem": outcome.validation_stem,
            "validation_warnings": outcome.validation_warnings,
        }
    )
    return summary


def signatures_lines(run: Run, result: SignatureResult, record: dict[str, Any]) -> list[str]:
    """Classes against the null, and the largest groups."""
    lines = [f"{'class':14}{'neurons x poles':>16}{'shuffled tokens':>17}"]
    for name, n in result.class_counts.items():
        lines.append(f"{name:14}{n:>16}{result.null_class_counts.get(name, 0):>17}")
    lines += ["", f"groups   {len(result.groups)}"]
    for group in sorted(result.groups, key=lambda g: -int(str(g["n_members"])))[:_SHOWN]:
        lines.append(f"         {fit(escape(str(group['name'])), 32)} {group['n_members']}")
    return [
        *lines,
        f"concepts {', '.join(visible(c) for c in result.concepts)} ({result.concepts_source})",
        f"counted  {len(result.counted.prompts)} prompts, {result.counted.n_tokens} tokens",
        *_warnings(record["warnings"]),
        f"written  {escape(str(run.path))}/analysis: {SIGNATURES}.csv, {SIGNATURES}.parquet, groups.json",
    ]


def neuron_name(layer: int, neuron: int) -> str:
    return f"L{layer}N{neuron}"


def _warnings(warnings: list[str]) -> list[str]:
    return [f"note     {escape(w)}" for w in warnings]


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3f}"


def _percent(x: float | None) -> str:
    return "-" if x is None or not math.isfinite(x) else f"{100 * x:.1f} %"
