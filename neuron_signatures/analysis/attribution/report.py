"""The summary that `--mode influence` prints: lines for a person, a record for a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.analysis.attribution.first_neurons import FirstNeuron
from neuron_signatures.analysis.attribution.outcome import InfluenceOutcome, MetricSummary
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.analysis.report_text import neuron_name, percent, warning_lines
from neuron_signatures.analysis.validation.writing import table_lines
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import escape, visible

# The fields of a validation's record that are part of the summary.
_VALIDATION = (
    "n_units", "n_pairs", "n_measured", "sampled", "n_sets", "m_full", "m_empty", "metrics", "winner_single",
    "winner_single_why", "winner_sets", "winner_sets_why",
)  # fmt: skip


def influence_lines(folder: Path, outcome: InfluenceOutcome) -> list[str]:
    """The target, the first neurons of each metric with what they write, and the table of the validation."""
    target, facts = outcome.resolved.target, outcome.resolved.facts
    foil = f" against {visible(facts.foil.token)!r}" if facts.foil else ""
    lines = [
        f"prompt   {escape(outcome.prompt_id)}, position {target.pos}",
        f"target   {visible(facts.target.token)!r} (id {target.token_id}){foil}: {target.function} {facts.value:.3f}, "
        f"probability {facts.target.probability:.3f}, rank {facts.target.rank}",
        f"top      {', '.join(f'{visible(t.token)!r} {t.probability:.3f}' for t in facts.top)}",
        f"scores   by the reference {reference_text(outcome.reference)}",
    ]
    for m in outcome.metrics:
        lines += [
            "",
            f"{m.metric}: {m.n_selected} neurons selected, {percent(m.selected_share)} of the sum of |scores|",
        ]
        lines += [_neuron_line(n, centred=not outcome.reference.is_zero) for n in m.first]
    shared = _shared(outcome.metrics)
    warnings = [*shared, *(f"{m.metric}: {w}" for m in outcome.metrics for w in m.warnings if w not in shared)]
    stems = [m.stem for m in outcome.metrics]
    if found := outcome.validated:
        lines += ["", *table_lines(found.result, outcome.reference)]
        warnings += [f"validation: {w}" for w in found.record["warnings"] if w not in shared]
        stems.append(found.stem)
    lines += ["", *warning_lines(warnings)]
    return [*lines, f"written  {escape(str(folder))}/analysis:", *(f"         {escape(stem)}.*" for stem in stems)]


def reference_text(reference: Reference) -> str:
    """The reference and what it means for a score."""
    if reference.is_zero:
        return "zero: activation times effect"
    n, records = reference.n_tokens, reference.records
    of = None if n is None else records.text(n) if records else f"{n} tokens"
    tokens = f" (over {of})" if of else ""
    return f"{escape(reference.name)}{tokens}: (activation - reference) times effect"


def _neuron_line(n: FirstNeuron, *, centred: bool) -> str:
    verb, tokens = ("writes", n.writes) if n.score >= 0 else ("lowers", n.lowers)
    shown = " ".join(repr(visible(t)) for t in tokens)
    name = f"  {visible(n.name)}" if n.name else ""
    label = neuron_name(n.layer, n.neuron)
    reference = f" (ref {n.reference:>+8.3f})" if centred else ""
    return f"  {label:10}{n.score:>+9.3f}  act {n.activation:>+8.3f}{reference} at {n.ctx_idx:<4} {verb} {shown}{name}"


def _shared(metrics: Sequence[MetricSummary]) -> list[str]:
    """The warnings that every metric has, which are printed once."""
    return [w for w in metrics[0].warnings if all(w in m.warnings for m in metrics)] if metrics else []


def influence_summary(folder: Path, outcome: InfluenceOutcome) -> dict[str, Any]:
    """The same as a JSON record."""
    found = outcome.validated
    summary: dict[str, Any] = strict(
        {
            "run": folder,
            "prompt_id": outcome.prompt_id,
            "target": target_record(outcome.resolved),
            **outcome.reference.record(),
            "metrics": outcome.metrics,
            "validation": {k: found.record[k] for k in _VALIDATION} if found else None,
            "validation_stem": found.stem if found else None,
            "validation_warnings": found.record["warnings"] if found else [],
        }
    )
    return summary
