"""Lines that the summaries of all modes share."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.analysis.report_text import number
from neuron_signatures.interventions.controls.verdicts import p_text
from neuron_signatures.runs.intervention_records import Controls, Prediction, SideEffects
from neuron_signatures.runs.tokens import escape, visible


def prediction_line(label: str, p: Prediction) -> str:
    top = ", ".join(f"{visible(a.token)!r} {a.probability:.3f}" for a in p.top)
    kl = f", KL {p.kl:.4f}" if p.kl else ""
    return f"{label:9}difference {p.difference:.3f}, probability {p.probability:.3f}, rank {p.rank}{kl}; top {top}"


def control_lines(controls: Controls) -> list[str]:
    """The observed effect beside every control."""
    lines = [
        f"{'controls':12}{'effect':>10}{'mean':>9}{'spread':>9}{'5 %':>9}{'95 %':>9}{'largest':>9}{'p':>9}{'draws':>7}"
        f"{'flipped':>9}",
        f"{'these':12}{controls.observed:>+10.3f}",
    ]
    for name, null in (("random", controls.random), ("scrambled", controls.scrambled), ("permuted", controls.permuted)):
        if null is not None:
            cells = "".join(f"{number(x):>9}" for x in (null.mean, null.std, null.low, null.high, null.most))
            flipped = "-" if null.n_flipped is None else str(null.n_flipped)
            lines.append(f"{name:12}{'':>10}{cells}{p_text(null.p):>9}{null.n:>7}{flipped:>9}")
    if controls.negative is not None:
        lines.append(f"{'negative':12}{controls.negative:>+10.3f}  the same deltas with the sign reversed")
    if (wrong := controls.wrong_source) is not None:
        lines.append(
            f"{'wrong':12}{wrong.k} cells chosen in the same way from {visible(wrong.text)!r}: its own answer "
            f"{visible(wrong.answer)!r} {wrong.own_logit:+.3f} logits, the right source's {wrong.source_logit:+.3f}"
        )
    if controls.own_share > 0.1:
        lines.append(f"{'':12}{controls.own_share:.0%} of a random set, on average, are the set's own neurons")
    return [*lines, *(f"{'':12}without {escape(line)}" for line in controls.left_out)]


def side_effect_lines(side: SideEffects) -> list[str]:
    random = ""
    if (r := side.random) is not None:
        random = f"; {r.n_sets} random sets {r.kl_mean:.4f} ({r.kl_low:.4f} to {r.kl_high:.4f})"
    return [
        f"side effects at the last position of {side.n_prompts} neutral prompts: KL mean {side.kl_mean:.4f}, median "
        f"{side.kl_median:.4f}, largest {side.kl_max:.4f}{random}",
        *(f"{'':9}{escape(note)}" for note in side.notes),
        f"{'':9}most likely token changed in {side.n_top_changed}; facts right {side.facts_before} of {side.facts}, "
        f"then {side.facts_after}; perplexity of a neutral text {side.perplexity_before:.1f}, then "
        f"{side.perplexity_after:.1f}",
    ]


def written_lines(folder: Path, stem: str) -> list[str]:
    return [f"written  {escape(str(folder))}/interventions:", f"         {escape(stem)}.*"]
