"""Control edits of one set, measured and kept, so that an interrupted command resumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.controls.nulls import Outcome, null, outcomes
from neuron_signatures.interventions.controls.random_sets import (
    deltas,
    n_arrangements,
    other_neurons,
    own_share,
    permuted_deltas,
    random_neurons,
    scrambled_positions,
    with_deltas,
)
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.runs.intervention_records import Controls, Null
from neuron_signatures.runs.progress import Bar

_FEWEST_SETS = 20
"""Different scrambled sets that there must be: with fewer, p cannot be 0.05."""
_FEWEST_CELLS = 5
"""Cells whose deltas are permuted: 4 have 23 other orders, many of which are nearly the own one."""
RANDOM = "random neurons of the same layers with the same delta norms"
SCRAMBLED = "the same deltas at other positions"
PERMUTED = "the deltas of the set in another order"


@dataclass(frozen=True)
class Settings:
    """The number of random sets and of the other draws (at most), the seed, copies per pass, and whether effects of
    both signs count."""

    n_random: int
    n_others: int
    seed: int
    batch: int
    two_sided: bool


@dataclass(frozen=True)
class ControlledSet:
    """A set of changed cells of one prompt, with what its controls need.

    `acts` are the clean activations of the whole prompt, `norms` those of `write_norms`.
    """

    name: str
    """Of its kept values."""
    changes: Changes
    acts: Float[Tensor, "layer pos neuron"]
    norms: Float[Tensor, "layer neuron"]


def kept_outcomes(kept: Kept, bar: Bar, name: str, copies: Copies, sets: Iterator[Changes]) -> Iterator[Outcome]:
    """The outcomes of `sets`, those of an earlier process first; they are kept as they are measured.

    Of an earlier process whole passes count: the place of a set in its pass decides how its result is rounded.
    """
    rows = kept.rows(name)
    known = len(rows) - len(rows) % copies.batch
    del rows[known:]
    yield from (Outcome(effect, bool(flipped)) for effect, flipped in rows[:known])
    for outcome in outcomes(copies.run(islice(sets, known, None)), copies.problem.target.token_id):
        rows.append([outcome.effect, float(outcome.flipped)])
        kept.changed()
        bar.advance(1)
        yield outcome


def random_null(
    one: ControlledSet, copies: Copies, observed: float, settings: Settings, kept: Kept, bar: Bar,
    *, sequential: bool = False,
) -> Null:  # fmt: skip
    """`observed` against random neurons; a set that is one neuron is not drawn itself (`other_neurons`)."""
    rng = np.random.default_rng([settings.seed, 1])
    n_neurons = len(set(zip(one.changes.layer.tolist(), one.changes.neuron.tolist(), strict=True)))
    draw = other_neurons if n_neurons == 1 else random_neurons
    sets = draw(one.changes, one.acts, one.norms, rng)
    found = kept_outcomes(kept, bar, f"{one.name} random", copies, sets)
    return null(RANDOM, observed, found, n=settings.n_random, two_sided=settings.two_sided, sequential=sequential)


def measure_controls(
    one: ControlledSet, copies: Copies, everywhere: Sequence[int], settings: Settings, kept: Kept, bar: Bar
) -> Controls:
    """All controls that need no search: random neurons, other positions, other order, negative deltas.

    `copies` runs the prompt from the first changed position; scrambled deltas may be at any of the positions
    `everywhere`. Random neurons are drawn `n_random` times, the others at most `n_others` times, until 10 do as well.
    """
    delta = deltas(one.changes, one.acts)
    plus, minus = copies.effects([with_deltas(one.changes, one.acts, d) for d in (delta, -delta)])
    left_out = []
    random = random_null(one, copies, plus, settings, kept, bar)
    scrambled = permuted = None
    n_ways = n_arrangements(one.changes, everywhere)
    if n_ways >= _FEWEST_SETS:
        rng = np.random.default_rng([settings.seed, 2])
        wide = Copies(copies.problem, first=min(everywhere), batch=settings.batch)
        sets = scrambled_positions(one.changes, one.acts, everywhere, rng)
        found = kept_outcomes(kept, bar, f"{one.name} scrambled", wide, sets)
        scrambled = null(SCRAMBLED, plus, found, n=settings.n_others, two_sided=settings.two_sided, sequential=True)
        if scrambled.p is not None:  # repeated sets are no new evidence
            scrambled = scrambled.model_copy(update={"p": max(scrambled.p, 1 / (1 + n_ways))})
    else:
        left_out.append(f"scrambled positions: there are only {n_ways} ways to place the deltas elsewhere")
    changed = with_deltas(one.changes, one.acts, delta).offset != one.changes.at(one.acts)
    if int(changed.sum()) >= _FEWEST_CELLS:
        rng = np.random.default_rng([settings.seed, 3])
        sets = permuted_deltas(one.changes, one.acts, one.norms, rng)
        found = kept_outcomes(kept, bar, f"{one.name} permuted", copies, sets)
        permuted = null(PERMUTED, plus, found, n=settings.n_others, two_sided=settings.two_sided, sequential=True)
    else:
        left_out.append(f"permuted deltas: fewer than {_FEWEST_CELLS} cells have too few orders")
    return Controls(
        observed=plus, two_sided=settings.two_sided, random=random, scrambled=scrambled, permuted=permuted,
        negative=minus, own_share=own_share(one.changes, one.norms.shape[1]), left_out=left_out,
    )  # fmt: skip
