"""The summary that `--mode effect` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.analysis.report_text import number, warning_lines
from neuron_signatures.interventions.controls.verdicts import p_text
from neuron_signatures.interventions.effect.writing import value_text
from neuron_signatures.interventions.report_text import control_lines, prediction_line, side_effect_lines, written_lines
from neuron_signatures.runs.tokens import escape, visible

if TYPE_CHECKING:
    from neuron_signatures.interventions.effect.run import EffectOutcome

_SHOWN = 15


def effect_lines(outcome: EffectOutcome) -> list[str]:
    """Target, clean and edited prediction, single neurons, controls, side effects, and what it shows."""
    planned = outcome.planned
    facts, target = planned.resolved.facts, planned.resolved.target
    foil = f" against {visible(facts.foil.token)!r}" if facts.foil else ""
    lines = [
        f"prompt   {escape(planned.setup.prompt.prompt_id or '')}, target {visible(facts.target.token)!r}{foil} at "
        f"position {target.pos}, function {target.function}",
        f"edit     {planned.request.kind}: {len(outcome.singles)} neurons {escape(value_text(planned))} at position(s) "
        f"{', '.join(map(str, planned.problem.positions))}",
        prediction_line("clean", outcome.clean),
        *([prediction_line("edited", outcome.as_set)] if outcome.as_set else []),
        "",
        f"{'one by one':12}{'effect':>10}{'logprob':>10}{'prob':>9}{'rank':>12}{'KL':>10}{'act':>9}{'new':>9}{'p':>9}"
        f"{'draws':>7}",
    ]
    for s in sorted(outcome.singles, key=lambda s: -abs(s.value_effect))[:_SHOWN]:
        ranks = f"{s.rank_before} to {s.rank_after}"
        p, draws = (p_text(s.null.p), str(s.null.n)) if s.null else ("-", "-")
        lines.append(
            f"{s.neuron.label:12}{s.value_effect:>+10.4f}{s.logprob:>+10.4f}{s.probability:>+9.4f}{ranks:>12}"
            f"{s.kl:>10.5f}{number(s.act):>9}{number(s.value):>9}{p:>9}{draws:>7}"
        )
    if len(outcome.singles) > _SHOWN:
        lines.append(f"... {len(outcome.singles) - _SHOWN} more in the table")
    if outcome.controls:
        lines += ["", *control_lines(outcome.controls)]
    if outcome.side_effects:
        lines += ["", *side_effect_lines(outcome.side_effects)]
    lines += ["", f"result   {escape(outcome.verdict)}", *warning_lines(planned.warnings)]
    return [*lines, *written_lines(planned.setup.run.path, outcome.stem)]
