"""One swapped pair as a record: answers before and after, the cells, the curve, controls and side effects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.interventions.controls.measure import ControlledSet
from neuron_signatures.interventions.controls.random_sets import Norms, delta_norms, random_neurons
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.facts import answers, top_tokens
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.swap.pairs import Pair
from neuron_signatures.interventions.swap.select import Path
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.intervention_records import (
    BandRow,
    Cell,
    Controls,
    CurveRow,
    ExactEdit,
    SideEffects,
    SwapPair,
)
from neuron_signatures.runs.progress import Bar

BAND_DRAWS = 100


def pair_record(
    session: Session, pair: Pair, path: Path, norms: Norms, *, controls: Controls | None, band: Sequence[BandRow],
    side_effects: SideEffects | None, verdict: str,
) -> SwapPair:  # fmt: skip
    """The record at the fewest cells that flip, or at all cells that were tried. Logits are those of the bridge."""
    model, dest = session.model, pair.destination
    smallest = path.smallest(pair.source_answer)
    k = smallest or len(path)
    changes = pair.patch(path.cells[:k])
    ids = [pair.source_answer, pair.destination_answer]
    names = token_strings(model.tokenizer, ids)
    after = session.pre_cap_logits(dest.prompt.token_ids, pair.problem.target.pos, changes.edits())
    first, second = (answers(model, logits, ids) for logits in (dest.logits, after))
    difference = [float(logits[ids[0]] - logits[ids[1]]) for logits in (dest.logits, after)]
    return SwapPair(
        id=pair.id,
        destination=pair.destination.prompt.record(ids[1], names[1]),
        source=pair.source.prompt.record(ids[0], names[0]),
        target_pos=pair.problem.target.pos,
        roles=dict(zip(pair.roles, pair.places, strict=True)),
        smallest_k=smallest,
        k=k,
        n_candidates=pair.source_acts.numel(),
        before=(first[0], first[1]),
        after=(second[0], second[1]),
        top_before=top_tokens(model, dest.logits),
        top_after=top_tokens(model, after),
        difference_before=difference[0],
        difference_after=difference[1],
        predicted=float(path.predicted[:k].sum()),
        cells=path_cells(pair, path, norms, k),
        edits=[
            ExactEdit(layer=layer, neuron=neuron, pos=pos, value=value)
            for layer, neuron, pos, value in zip(
                changes.layer.tolist(), changes.neuron.tolist(), changes.pos.tolist(), changes.offset.tolist(),
                strict=True,
            )
        ],
        curve=curve(path),
        band=list(band),
        controls=controls,
        side_effects=side_effects,
        verdict=verdict,
    )  # fmt: skip


def path_cells(pair: Pair, path: Path, norms: Norms, k: int) -> list[Cell]:
    """The first `k` cells in the order in which they were chosen."""
    changes, acts = pair.patch(path.cells[:k]), pair.destination.acts
    columns = zip(
        changes.layer.tolist(), changes.neuron.tolist(), changes.pos.tolist(), path.cells[:k, 1].tolist(),
        changes.at(acts).tolist(), changes.offset.tolist(), delta_norms(changes, acts, norms).tolist(),
        path.predicted[:k].tolist(), strict=True,
    )  # fmt: skip
    return [
        Cell(layer=layer, neuron=neuron, pos=pos, role=pair.roles[role], act=act, value=value, delta_norm=norm,
             predicted=predicted)
        for layer, neuron, pos, role, act, value, norm, predicted in columns
    ]  # fmt: skip


def curve(path: Path) -> list[CurveRow]:
    """The clean prediction (k = 0), and that after each cell."""
    clean, found = path.clean, path.predictions
    predicted = [0.0, *path.predicted.cumsum(0).tolist()]
    foil_rank = [int(clean.foil_rank[0]), *found.foil_rank.tolist()]
    return [
        CurveRow(
            k=k, difference=float(p.difference[i]), predicted=predicted[k],
            source_probability=float(p.probability[i]), destination_probability=float(p.foil_probability[i]),
            source_rank=int(p.rank[i]), destination_rank=foil_rank[k],
        )
        for k, (p, i) in enumerate([(clean, 0), *((found, i) for i in range(len(found)))])
    ]  # fmt: skip


def measure_band(one: ControlledSet, copies: Copies, k_most: int, *, seed: int, kept: Kept, bar: Bar) -> list[BandRow]:
    """Random sets with the norms of the first 1, 2, 4, ... cells of the path; one-sided effects on the difference."""
    sizes = sorted({min(2**i, k_most) for i in range(k_most.bit_length() + 1)})
    rows = kept.rows(f"{one.name} band")
    for k in sizes[len(rows) :]:
        rng = np.random.default_rng([seed, 4, k])
        prefix = ControlledSet(one.name, one.changes[:k], one.acts, one.norms)
        sets = random_neurons(prefix.changes, prefix.acts, prefix.norms, rng)
        effects = list(copies.effects(next(sets) for _ in range(BAND_DRAWS)))
        low, high = np.percentile(effects, [5, 95])
        rows.append([k, float(np.mean(effects)), float(low), float(high), max(effects)])
        kept.changed()
        bar.advance(BAND_DRAWS)
    return [
        BandRow(k=int(k), n=BAND_DRAWS, mean=mean, low=low, high=high, most=most) for k, mean, low, high, most in rows
    ]
