"""The summary that `--mode swap` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.analysis.report_text import number, warning_lines
from neuron_signatures.interventions.report_text import control_lines, side_effect_lines, written_lines
from neuron_signatures.runs.intervention_records import Answer, SharedList, SwapPair
from neuron_signatures.runs.tokens import escape, visible

if TYPE_CHECKING:
    from neuron_signatures.interventions.swap.run import SwapOutcome

_SHOWN = 12


def swap_lines(outcome: SwapOutcome) -> list[str]:
    """One pair in full, or a line per pair; then the shared list, and what it shows."""
    pairs = outcome.pairs
    lines = _pair_lines(pairs[0]) if outcome.summary is None else _many_lines(pairs)
    if outcome.shared is not None and outcome.shared.held_out:
        lines += ["", *_shared_lines(outcome.shared)]
    lines += ["", f"result   {escape(outcome.verdict)}"]
    lines += warning_lines([*outcome.setup.checked.warnings, *outcome.collected.warnings])
    return [*lines, *written_lines(outcome.setup.run.path, outcome.stem)]


def _pair_lines(pair: SwapPair) -> list[str]:
    places = ", ".join(f"{role} {a} (source {b})" for role, (a, b) in pair.roles.items())
    lines = [
        f"into     {escape(pair.destination.text)!r} -> {visible(pair.destination.answer or '')!r}",
        f"from     {escape(pair.source.text)!r} -> {visible(pair.source.answer or '')!r}",
        f"at       {places}; {pair.n_candidates} cells (layer, neuron, position)",
        f"before   {_answers(pair.before)}; difference {pair.difference_before:+.3f}",
        f"after    {_answers(pair.after)}; difference {pair.difference_after:+.3f}, with {pair.k} cells",
        f"change   {pair.difference_after - pair.difference_before:+.3f}; attribution predicted {pair.predicted:+.3f}",
        "",
        f"{'cell':14}{'at':>8}{'act':>9}{'new':>9}{'norm':>8}{'predicted':>11}{'difference':>12}{'p source':>10}",
    ]
    after = {row.k: row for row in pair.curve}
    for k, c in enumerate(pair.cells[:_SHOWN], 1):
        row = after[k]
        lines.append(
            f"{f'L{c.layer}N{c.neuron}':14}{c.role:>8}{number(c.act):>9}{number(c.value):>9}{number(c.delta_norm):>8}"
            f"{number(c.predicted):>11}{row.difference:>12.3f}{row.source_probability:>10.4f}"
        )
    if len(pair.cells) > _SHOWN:
        lines.append(f"... {len(pair.cells) - _SHOWN} more in the table")
    if pair.controls:
        lines += ["", *control_lines(pair.controls)]
    if pair.side_effects:
        lines += ["", *side_effect_lines(pair.side_effects)]
    return lines


def _answers(both: tuple[Answer, Answer]) -> str:
    return ", ".join(f"{visible(a.token)!r} p {a.probability:.4f} rank {a.rank}" for a in both)


def _many_lines(pairs: tuple[SwapPair, ...]) -> list[str]:
    lines = [f"{'pair':32}{'k':>6}{'difference':>12}{'then':>9}{'predicted':>11}{'random p':>10}{'flipped':>9}"]
    for pair in pairs:
        random = pair.controls.random if pair.controls else None
        p, flipped = (f"{random.p:.4f}", f"{random.n_flipped}/{random.n}") if random and random.p else ("-", "-")
        k = "-" if pair.smallest_k is None else str(pair.smallest_k)
        lines.append(
            f"{escape(pair.id)[:31]:32}{k:>6}{pair.difference_before:>12.2f}{pair.difference_after:>9.2f}"
            f"{pair.predicted:>11.2f}{p:>10}{flipped:>9}"
        )
    return lines


def _shared_lines(shared: SharedList) -> list[str]:
    random = shared.held_out_random[0]
    names = ", ".join(f"L{c.layer}N{c.neuron} {c.role}" for c in shared.cells[:5])
    return [
        f"one list for all pairs, chosen on {shared.n_selection}: {names}, ...",
        *(_share_line(shared, k) for k in dict.fromkeys((shared.fewest_k, shared.chosen_k))),
        f"  random sets of {random.k} cells flip {random.share:.1%} of the held-out pairs",
        *(side_effect_lines(shared.side_effects) if shared.side_effects else []),
    ]


def _share_line(shared: SharedList, k: int) -> str:
    own, other = shared.selection[k - 1], shared.held_out[k - 1]
    return (
        f"  {k} cells flip {own.share:.0%} of the pairs they were chosen on and {other.share:.0%} [{other.low:.0%}, "
        f"{other.high:.0%}] of {shared.n_held_out} held-out pairs"
    )
