"""What a result shows, in words. Nothing is called an effect whose controls do as well."""

from __future__ import annotations

from neuron_signatures.analysis.report_text import number
from neuron_signatures.runs.intervention_records import Controls, Null

MAX_P = 0.05


def p_text(p: float | None) -> str:
    return "-" if p is None else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def beats(null: Null | None) -> bool:
    """Whether the observed effect is larger than those of the control edits."""
    return null is not None and null.p is not None and null.p <= MAX_P


def spread_text(null: Null) -> str:
    return (
        f"{null.n:,} random sets: mean {number(null.mean)}, 5 to 95 % {number(null.low)} to {number(null.high)}, "
        f"largest {number(null.most)}; p = {p_text(null.p)}"
    )


SCREENED = "a list to choose from, not a test"
UNCHANGED = "The edit changes no activation: there is nothing to test"
_SAME_SETS = 0.25


def effect_verdict(controls: Controls | None) -> str:
    """One sentence on a set of neurons; None controls are those of an edit that changes nothing."""
    if controls is None:
        return UNCHANGED
    assert controls.random is not None
    if controls.own_share > _SAME_SETS:
        return (
            f"Not decided: on average {controls.own_share:.0%} of a random set are these neurons themselves, so random "
            "sets do not test which neurons matter"
        )
    against = f"{number(controls.observed)} against {spread_text(controls.random)}"
    if not beats(controls.random):
        return f"No effect of these neurons is shown: random neurons do as well ({against})"
    rivals = [
        name
        for name, null in (("the same deltas at other positions", controls.scrambled),
                           ("the same deltas in another order", controls.permuted))
        if null is not None and not beats(null)
    ]  # fmt: skip
    more = f"; but {' and '.join(rivals)} do as well" if rivals else ""
    return f"The effect is theirs: {against}{more}"
