"""The summary that `--mode influence` prints: lines for a person, a record for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.analysis.attribution.stage import InfluenceOutcome
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.report_text import neuron_name, percent, warning_lines
from neuron_signatures.analysis.validation.writing import table_lines
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import escape, visible

# The fields of a validation's record that are part of the summary.
_VALIDATION = ("n_units", "n_measured", "m_full", "m_empty", "metrics", "winner_single", "winner_sets")


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
    warnings = [f"{m.metric}: {w}" for m in outcome.metrics for w in m.warnings]
    stems = [m.stem for m in outcome.metrics]
    if found := outcome.validated:
        lines += ["", *table_lines(found.result)]
        warnings += [f"validation: {w}" for w in found.record["warnings"]]
        stems.append(found.stem)
    lines += ["", *warning_lines(warnings)]
    return [*lines, f"written  {escape(str(folder))}/analysis:", *(f"         {escape(stem)}.*" for stem in stems)]


def influence_summary(folder: Path, outcome: InfluenceOutcome) -> dict[str, Any]:
    """The same as a JSON record."""
    found = outcome.validated
    summary: dict[str, Any] = strict(
        {
            "run": folder,
            "prompt_id": outcome.prompt_id,
            "target": target_record(outcome.resolved),
            "metrics": outcome.metrics,
            "validation": {k: found.record[k] for k in _VALIDATION} if found else None,
            "validation_stem": found.stem if found else None,
            "validation_warnings": found.record["warnings"] if found else [],
        }
    )
    return summary
