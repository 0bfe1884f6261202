"""The summary that `--mode influence` prints: lines for a person, a record for a program."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuron_signatures.analysis.attribution.stage import InfluenceOutcome
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.report_text import neuron_name, percent, warning_lines
from neuron_signatures.analysis.validation.writing import table_lines, validation_summary
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import escape, visible


def influence_lines(folder: Path, outcome: InfluenceOutcome) -> list[str]:
    """The target, the first neuron of each metric, and the table of the validation."""
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
        lines.append(f"{m.metric:18}{m.n_selected:>9}{percent(m.selected_share):>8}  {first}")
    if outcome.validation:
        lines += ["", *table_lines(outcome.validation)]
    warnings = [f"{m.metric}: {w}" for m in outcome.metrics for w in m.warnings]
    lines += ["", *warning_lines([*warnings, *(f"validation: {w}" for w in outcome.validation_warnings)])]
    stems = [m.stem for m in outcome.metrics] + ([outcome.validation_stem] if outcome.validation_stem else [])
    return [*lines, f"written  {escape(str(folder))}/analysis:", *(f"         {escape(stem)}.*" for stem in stems)]


def influence_summary(folder: Path, outcome: InfluenceOutcome) -> dict[str, Any]:
    """The same as a JSON record."""
    summary: dict[str, Any] = strict(
        {
            "run": str(folder),
            "prompt_id": outcome.prompt_id,
            "target": target_record(outcome.resolved),
            "metrics": [asdict(m) for m in outcome.metrics],
            "validation": validation_summary(outcome.validation) if outcome.validation else None,
            "validation_stem": outcome.validation_stem,
            "validation_warnings": outcome.validation_warnings,
        }
    )
    return summary
