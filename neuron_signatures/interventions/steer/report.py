"""The summary that `--mode steer` prints: lines for a person, a record for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.analysis.report_text import number, warning_lines
from neuron_signatures.interventions.report_text import side_effect_lines, written_lines
from neuron_signatures.interventions.steer.doses import MeasuredDose
from neuron_signatures.interventions.steer.response import JUDGED_TOKENS
from neuron_signatures.interventions.steer.run import SteerOutcome
from neuron_signatures.interventions.steer.writing import Measured
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.tokens import escape, fit, visible

_TEXT_COLUMNS = 48


def steer_lines(folder: Path, outcome: SteerOutcome) -> list[str]:
    """The target, one line per amount with its control and text, what the series shows, and the files."""
    request, found = outcome.request, outcome.measured
    target, facts = request.resolved.target, request.resolved.facts
    foil = f" against {visible(facts.foil.token)!r}" if facts.foil else ""
    where = ", ".join(map(str, request.positions))
    new = " and at every new one" if request.generation.at == "all" and request.generation.max_new_tokens else ""
    return [
        f"prompt   {escape(request.checked.prompt.probe_id)}, position {target.pos}",
        f"target   {visible(facts.target.token)!r} (id {target.token_id}){foil}: probability "
        f"{facts.target.probability:.3f}, rank {facts.target.rank}",
        f"steered  {escape(found.what)} at position(s) {where}{new}",
        f"unit     {found.unit}",
        "",
        *_table(found),
        "",
        f"response {_response_line(found)}",
        *([f"text     {_breaks_line(found, request.break_factor)}"] if request.generation.max_new_tokens else []),
        *(
            [f"elsewhere, with the amount {found.side_effects_at:g}:", *side_effect_lines(found.side_effects)]
            if found.side_effects
            else []
        ),
        f"verdict  {found.verdict}",
        *warning_lines(outcome.record["warnings"]),
        *written_lines(folder, outcome.stem),
    ]


def steer_summary(folder: Path, outcome: SteerOutcome) -> dict[str, Any]:
    """The same as a JSON record."""
    keys = (
        "target", "what", "unit", "doses", "monotone", "spearman", "turns_at", "breaks_below", "breaks_above",
        "broken", "effects_at", "smallest_p", "side_effects_at", "verdict", "warnings",
    )  # fmt: skip
    side = outcome.record["side_effects"]
    summary: dict[str, Any] = strict(
        {
            "run": folder,
            "prompt_id": outcome.request.checked.prompt.probe_id,
            **{k: outcome.record[k] for k in keys},
            "side_effects": side and {k: v for k, v in side.items() if k != "prompts"},
            "stem": outcome.stem,
        }
    )
    return summary


def _table(found: Measured) -> list[str]:
    clean = next(d for d in found.doses if d.dose.alpha == 0).value
    lines = [f"{'amount':>8}{'change':>9}{'random 5-95 %':>18}{'p':>8}{'prob':>7}{'rank':>6}{'perpl':>8}  text"]
    return lines + [_row(d, clean, broken=d.dose.alpha in found.breaks.broken) for d in found.doses]


def _row(d: MeasuredDose, clean: float, *, broken: bool) -> str:
    p, null, perplexity = d.dose.prediction, d.dose.null, d.dose.perplexity
    band = f"{null.low:+.3f} {null.high:+.3f}" if null and null.low is not None and null.high is not None else "-"
    shown = "-" if perplexity is None else f"{perplexity:.3g}"
    text = fit(visible(d.dose.text), _TEXT_COLUMNS).rstrip()
    return (
        f"{d.dose.alpha:>8g}{d.value - clean:>+9.3f}{band:>18}{number(null.p if null else None):>8}"
        f"{p.probability:>7.3f}{p.rank:>6}{shown:>7}{'*' if broken else ' '}  {text}"
    )


def _response_line(found: Measured) -> str:
    how = found.response
    shape = "monotone" if how.monotone else "not monotone"
    turns = "" if how.turns_at is None else f", turns after {how.turns_at:g}"
    return f"{shape} (Spearman {number(how.spearman)}){turns}"


def _breaks_line(found: Measured, factor: float) -> str:
    b = found.breaks
    at = [f"{a:g}" for a in (b.below, b.above) if a is not None]
    rule = f"*: {JUDGED_TOKENS} tokens or more of a perplexity above {factor:g} times that at 0, or one token repeated"
    return f"{'broken from ' + ' and '.join(at) if at else 'not broken'} ({rule})"
