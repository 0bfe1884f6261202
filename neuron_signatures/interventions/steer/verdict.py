"""What the doses show, in words. Nothing is called an effect whose controls do as well."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.interventions.controls.verdicts import MAX_P
from neuron_signatures.interventions.steer.doses import MeasuredDose
from neuron_signatures.interventions.steer.response import Breaks, Found, Response


def verdict(doses: Sequence[MeasuredDose], found: Found, how: Response, broken: Breaks, *, random: str) -> str:
    """One or two sentences. `random` names the controls ("random neurons")."""
    if found.smallest is None:
        return "not tested: there are no controls, so no change is called an effect"
    tested = f"p {found.smallest:.2g} after Bonferroni over {found.n_tested} amounts"
    if not found.alphas and found.least_possible > MAX_P:
        return (
            f"not decided: with so few control edits p cannot be below {found.least_possible:.2g} after Bonferroni "
            f"over {found.n_tested} amounts ({tested})"
        )
    if not found.alphas:
        return f"no effect is shown at any amount: {random} of the same norms do as well, or nearly ({tested})"
    clean = next(d for d in doses if d.dose.alpha == 0).value
    best = max((d for d in doses if d.dose.alpha in found.alphas), key=lambda d: abs(d.value - clean))
    change, null = best.value - clean, best.dose.null
    assert null is not None
    parts = [
        f"an effect at {_listed(found.alphas)} ({tested}): {change:+.3g} at {best.dose.alpha:g}, where {random} reach "
        f"{null.low:+.3g} to {null.high:+.3g} (5 to 95 %)"
    ]
    if how.monotone:
        parts.append("the response is monotone")
    elif how.turns_at is not None:
        parts.append(f"the response turns after {how.turns_at:g}")
    else:
        parts.append("the response is not monotone")
    if set(found.alphas) <= set(broken.broken):
        parts.append("the text is broken at all of these amounts")
    return "; ".join(parts)


def _listed(alphas: Sequence[float]) -> str:
    return ", ".join(f"{a:g}" for a in alphas)
