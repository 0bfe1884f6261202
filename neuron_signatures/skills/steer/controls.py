"""Control units: others of the same bank, drawn at random or firing about as often."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from neuron_signatures.skills.steer.units import BankFacts

Role = Literal["random", "matched"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True)
class Controls:
    """Columns of the bank, neither of which is the unit or its other pole. Fewer than asked for if the bank has fewer
    units that fire."""

    random: Int[np.ndarray, " control"]
    matched: Int[np.ndarray, " control"]

    def of(self, role: Role) -> Int[np.ndarray, " control"]:
        return self.random if role == "random" else self.matched


def controls_of(facts: BankFacts, unit: int, usable: Bool[np.ndarray, " column"], *, n: int, seed: int) -> Controls:
    """`n` random units that fire in some text of `find`, and the `n` whose share of those texts is closest to the
    unit's (ties in random order).

    The order in which units are drawn is one for the whole bank, so that units of a bank have nearly all their random
    controls in common, which are then measured once.
    """
    bank = facts.bank
    rng = np.random.default_rng((seed, zlib.crc32(bank.key.encode())))
    order = rng.permutation(bank.width)
    order = order[(facts.alive & usable)[order] & (order % bank.n_units != unit % bank.n_units)]
    distance = np.abs(facts.share[order] - facts.share[unit])
    return Controls(order[:n], order[np.argsort(distance, kind="stable")[:n]])
