"""The printed summary of `--mode steer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.skills.names import SKILLS, STEERING, STEERING_SUMMARY
from neuron_signatures.runs.tokens import escape
from neuron_signatures.skills.steer.run import SteerOutcome
from neuron_signatures.skills.steer.verdicts import Together


def steer_lines(run_dir: Path, done: SteerOutcome) -> list[str]:
    """Per class, source and edit: the median effect at the dose of the claim, win rates, and the price."""
    lines = []
    for outcome, title in (
        ("effect", "change of log p per token of held-out texts of the class (nats)"),
        ("against_others", "the same less the mean change over the other classes"),
        ("class_tokens", "change of log p that the next token is one of the class's, in texts of other classes"),
    ):
        found = [t for t in done.together if t.outcome == outcome]
        if found:
            lines += [title, _HEAD, *_rows(found), ""]
    if undefined := done.facts["n_undefined"]:
        lines.append(f"undefined {undefined} of {done.facts['n_changes']} changes: logits that are not finite")
    lines += [f"note      {note}" for note in done.notes]
    lines.append(
        "win rate  mean share of controls with a smaller effect [95 % bootstrap over units]; above 95 %: units"
    )
    lines.append(f"written   {escape(str(run_dir))}/{SKILLS}: {STEERING}.parquet, {STEERING_SUMMARY}.parquet")
    return lines


_HEAD = (
    f"{'class':<14}{'source':<9}{'edit':<6}{'dose':>6}{'units':>6}{'median [95 %]':>26}"
    f"{'win, random':>21}{'win, matched':>21}{'above 95 %':>11}{'KL':>8}{'control':>8}{'ppl x':>7}"
)


def _rows(found: Sequence[Together]) -> list[str]:
    by_role: dict[tuple[str, str, str], dict[str, Together]] = {}
    for t in found:
        by_role.setdefault((t.for_class, t.source, t.edit), {})[t.role] = t
    return [_row(roles["random"], roles["matched"]) for roles in by_role.values()]


def _row(random: Together, matched: Together) -> str:
    median = _number(random.median_effect, "+.4f") + _range(random.low, random.high, "+.3f")
    wins = "".join(
        f"{_number(t.win_rate, '.2f') + _range(t.win_low, t.win_high, '.2f'):>21}" for t in (random, matched)
    )
    return (
        f"{escape(random.for_class):<14}{random.source:<9}{random.edit:<6}{random.dose:>6g}{random.n_units:>6}{median:>26}"
        f"{wins}{f'{random.n_above}/{matched.n_above}':>11}{_number(random.kl, '.3f'):>8}"
        f"{_number(random.control_kl, '.3f'):>8}{_number(random.perplexity_ratio, '.2f'):>7}"
    )


def _range(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
