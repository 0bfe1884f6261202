"""One list of cells for all pairs: chosen on the selection pairs, tested on pairs that the choice has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from neuron_signatures.interventions.controls.measure import ControlledSet
from neuron_signatures.interventions.controls.nulls import outcomes
from neuron_signatures.interventions.controls.random_sets import Norms, random_neurons
from neuron_signatures.interventions.swap.pairs import Cells, Pair
from neuron_signatures.interventions.swap.select import Growing, Limits
from neuron_signatures.runs.intervention_records import SharedCell, SharedList, ShareRow
from neuron_signatures.runs.progress import Bar
from neuron_signatures.stats.bootstrap import bootstrap_weights, mean_intervals

N_BOOTSTRAP = 2000
RANDOM_DRAWS = 100
"""Random sets per held-out pair."""


@dataclass(frozen=True)
class Flips:
    """Whether pair i has the source's answer as the most likely token with the first k + 1 cells patched."""

    pairs: Sequence[Pair]
    by_k: Bool[np.ndarray, "pair k"]

    def rows(self, seed: int) -> list[ShareRow]:
        """Share over the pairs for every k, with bootstrap intervals."""
        return share_rows(self.by_k.astype(np.float64), [p.entities for p in self.pairs], seed)

    def smallest(self) -> list[int | None]:
        """Per pair the fewest cells that flip it."""
        return [int(row.argmax()) + 1 if row.any() else None for row in self.by_k]


def share_rows(flips: Float64[np.ndarray, "pair k"], members: Sequence[tuple[str, str]], seed: int) -> list[ShareRow]:
    weights = bootstrap_weights(members, n_draws=N_BOOTSTRAP, rng=np.random.default_rng([seed, 5]))
    low, high = mean_intervals(flips, weights)
    return [
        ShareRow(k=i + 1, share=float(share), low=float(low[i]), high=float(high[i]))
        for i, share in enumerate(flips.mean(0))
    ]


def choose_shared(selection: Sequence[Pair], limits: Limits, bar: Bar) -> tuple[Growing, Flips]:
    """Grow one list on the selection pairs until all are flipped for a while, or `max_k`."""
    growing = Growing(list(selection), limits)
    all_at = None
    for _ in growing.blocks():
        bar.advance(growing.last_block * len(selection))
        if all_at is None and all(growing.flipped()):
            all_at = growing.k
        if limits.is_done(growing.k, all_at):
            break
    tops = [
        path.predictions.top_id == pair.source_answer for path, pair in zip(growing.paths(), selection, strict=True)
    ]
    return growing, Flips(selection, np.stack([t.numpy() for t in tops]))


def held_out_flips(cells: Cells, pairs: Sequence[Pair], limits: Limits, bar: Bar) -> Flips:
    """Patch every prefix of the list in pairs that it was not chosen on."""
    found = []
    for pair in pairs:
        changes = pair.patch(cells)
        sets = (changes[: k + 1] for k in range(len(changes)))
        tops = [edited.top_id == pair.source_answer for _, edited in pair.copies(limits.batch).run(sets)]
        found.append(np.concatenate([t.numpy() for t in tops]))
        bar.advance(len(changes))
    return Flips(pairs, np.stack(found))


def shared_record(
    growing: Growing, selection: Flips, held_out: Flips | None, norms: Norms, limits: Limits, seed: int, bar: Bar
) -> SharedList:
    """The list, the share of selection and held-out pairs flipped by each prefix, and by random sets.

    The list ends some cells after all selection pairs flip (see `Limits`), so its whole length is the size that is
    tested: the fewest cells that flip the pairs they were chosen on rarely flip others. Random sets have this size.
    """
    roles = selection.pairs[0].roles
    scores = np.concatenate([s.numpy() for s in growing.scores])
    k = len(growing.cells)
    smallest = held_out.smallest() if held_out else []
    never = [np.inf if s is None else float(s) for s in smallest]
    median = float(np.median(never)) if never else np.inf
    return SharedList(
        cells=[
            SharedCell(layer=int(layer), neuron=int(neuron), role=roles[role], predicted=float(score))
            for (layer, role, neuron), score in zip(growing.cells.tolist(), scores, strict=True)
        ],
        selection=selection.rows(seed),
        held_out=held_out.rows(seed) if held_out else [],
        n_selection=len(selection.pairs),
        n_held_out=len(held_out.pairs) if held_out else 0,
        chosen_k=k,
        fewest_k=int(selection.by_k.mean(0).argmax()) + 1,
        held_out_median_k=median if np.isfinite(median) else None,
        held_out_smallest_k=smallest,
        held_out_random=_random_share(growing.cells[:k], held_out.pairs, norms, limits, seed, bar) if held_out else [],
    )


def _random_share(
    cells: Cells, pairs: Sequence[Pair], norms: Norms, limits: Limits, seed: int, bar: Bar
) -> list[ShareRow]:
    """Share of (pair, random set) that are flipped; sets have the norms of the list's deltas in that pair."""
    shares = []
    for i, pair in enumerate(pairs):
        one = ControlledSet("shared", pair.patch(cells), pair.destination.acts, norms)
        sets = random_neurons(one.changes, one.acts, one.norms, np.random.default_rng([seed, 6, i]))
        passes = pair.copies(limits.batch).run(next(sets) for _ in range(RANDOM_DRAWS))
        found = outcomes(passes, pair.source_answer)
        shares.append(np.mean([o.flipped for o in found]))
        bar.advance(RANDOM_DRAWS)
    (row,) = share_rows(np.array(shares)[:, None], [p.entities for p in pairs], seed)
    return [row.model_copy(update={"k": len(cells)})]
