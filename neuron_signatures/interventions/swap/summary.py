"""Many swapped pairs in numbers, and what swaps show in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.interventions.controls.verdicts import MAX_P, beats, spread_text
from neuron_signatures.interventions.swap.shared import N_BOOTSTRAP, share_rows
from neuron_signatures.runs.intervention_records import Controls, SharedList, SwapPair, SwapSummary
from neuron_signatures.runs.tokens import visible
from neuron_signatures.stats.bootstrap import bootstrap_weights, median_interval


def summary_of(pairs: Sequence[SwapPair], members: Sequence[tuple[str, str]], seed: int) -> SwapSummary:
    """Share of pairs flipped, by how many cells, and how many beat random sets of their size and norm."""
    k = np.array([np.inf if p.smallest_k is None else p.smallest_k for p in pairs])
    most = max(p.k for p in pairs)
    sizes = np.arange(1, most + 1)
    rows = share_rows((k[:, None] <= sizes[None]).astype(np.float64), members, seed)
    weights = bootstrap_weights(members, n_draws=N_BOOTSTRAP, rng=np.random.default_rng([seed, 5]))
    median, (low, high) = float(np.median(k)), median_interval(k, weights)
    return SwapSummary(
        n_pairs=len(pairs),
        n_flipped=int(np.isfinite(k).sum()),
        share=rows[-1].share,
        share_low=rows[-1].low,
        share_high=rows[-1].high,
        median_k=_finite(median),
        median_k_low=_finite(low),
        median_k_high=_finite(high),
        flipped_by_k=rows,
        n_random_beaten=sum(bool(p.controls and beats(p.controls.random)) for p in pairs),
    )


def _finite(x: float) -> float | None:
    return x if np.isfinite(x) else None


def pair_verdict(smallest: int | None, n_tried: int, answer: str, controls: Controls) -> str:
    """One sentence: whether the swap flips, and whether its controls do as well."""
    name = visible(answer)
    flips = f"{smallest} cells make {name!r} the most likely token" if smallest else (
        f"{n_tried} cells do not make {name!r} the most likely token"
    )  # fmt: skip
    random = controls.random
    assert random is not None
    if not beats(random):
        return f"{flips}; random sets of the same norms do as well ({spread_text(random)}): no effect is shown"
    parts = [f"{random.n_flipped} of {random.n:,} random sets of the same norms do; {spread_text(random)}"]
    rivals = [
        name for name, null in (("scrambled positions", controls.scrambled), ("permuted deltas", controls.permuted))
        if null is not None and not beats(null)
    ]  # fmt: skip
    if rivals:
        parts.append(f"but {' and '.join(rivals)} change the difference as much")
    if (wrong := controls.wrong_source) is not None:
        own = wrong.own_logit > wrong.source_logit and wrong.own_logit > 0
        verb = "raises its own answer more" if own else "does not raise its own answer more"
        parts.append(f"the wrong source {verb} ({wrong.own_logit:+.2f} against {wrong.source_logit:+.2f} logits)")
    return f"{flips}; {'; '.join(parts)}"


def swap_verdict(pairs: Sequence[SwapPair], summary: SwapSummary | None, shared: SharedList | None) -> str:
    """One sentence on the whole result."""
    if summary is None:
        first = pairs[0].verdict
    else:
        median = "-" if summary.median_k is None else f"{summary.median_k:g}"
        first = (
            f"{summary.n_flipped} of {summary.n_pairs} pairs flip (95 % interval of the share {summary.share_low:.2f} "
            f"to {summary.share_high:.2f}), the median one by {median} cells; {summary.n_random_beaten} beat random "
            f"sets (p <= {MAX_P:g})"
        )
    if shared is None or not shared.held_out:
        return first
    at, fewest = (shared.held_out[k - 1] for k in (shared.chosen_k, shared.fewest_k))
    random = shared.held_out_random[0].share
    return (
        f"{first}. Of one list chosen on {shared.n_selection} pairs, {shared.chosen_k} cells flip {at.share:.0%} of "
        f"{shared.n_held_out} held-out pairs ({at.low:.0%} to {at.high:.0%}), random sets {random:.1%}; the first "
        f"{shared.fewest_k}, the fewest for the pairs of the choice, {fewest.share:.0%}"
    )
