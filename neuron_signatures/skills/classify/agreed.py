"""The table `agreement`: raters with answers against each other, and raters with numbers against answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuron_signatures.runs.skills.columns import AGREEMENT
from neuron_signatures.runs.skills.units import Unit
from neuron_signatures.skills.classify.answers import ACTIVATIONS, AUROC, HAND, OWN_RATERS, VERDICTS, Verdict, consensus
from neuron_signatures.skills.classify.rating import Rating
from neuron_signatures.stats.agreement import Agreement, Separation, agreement, separation

if TYPE_CHECKING:
    import pandas as pd

N_DRAWS: Final = 1000
N_NULL: Final = 1000

Key = tuple[Unit, str]
"""A unit and a class."""


@dataclass(frozen=True)
class Raters:
    """What each rater says about the units' own explanations. `models` are the consensus of their samples."""

    answers: Mapping[str, Mapping[Key, Verdict]]
    """Hand, activations, the models, and their samples (`NAME #0`)."""
    numbers: Mapping[str, Mapping[Key, float]]
    models: Sequence[str]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Raters with answers: samples of a model with each other, all others with each other.

        The second one of a pair is the reference, if there is one: hand labels, else the activations.
        """
        samples = {name: [n for n in self.answers if n.startswith(f"{name} #")] for name in self.models}
        for names in samples.values():
            yield from combinations(names, 2)
        of_samples = {n for names in samples.values() for n in names}
        whole = [n for n in self.answers if n not in of_samples]
        yield from combinations(sorted(whole, key=lambda n: (n == HAND, n == ACTIVATIONS)), 2)

    def references(self, number: str) -> list[str]:
        """Raters whose yes and no a number is held against: not the activations for the AUROC that they are from."""
        circular = ACTIVATIONS if number == AUROC else ""
        return [name for name in self.answers if " #" not in name and name != circular]


def raters_of(ratings: Sequence[Rating]) -> Raters:
    answers: dict[str, dict[Key, Verdict]] = {}
    numbers: dict[str, dict[Key, float]] = {}
    samples: dict[str, dict[Key, list[Verdict]]] = {}
    for r in ratings:
        key = (r.pair.unit.unit, r.pair.name)
        if r.pair.is_control or r.status != "ok":
            continue
        verdict = next((v for v in VERDICTS if v == r.answer), None)
        if verdict is None:
            if r.confidence is not None:
                numbers.setdefault(r.rater, {})[key] = r.confidence
        elif r.rater in OWN_RATERS:
            answers.setdefault(r.rater, {})[key] = verdict
        else:
            answers.setdefault(f"{r.rater} #{r.sample}", {})[key] = verdict
            samples.setdefault(r.rater, {}).setdefault(key, []).append(verdict)
    for name, of_pair in samples.items():
        answers[name] = {key: verdict for key, said in of_pair.items() if (verdict := consensus(said)) is not None}
    return Raters(answers, numbers, list(samples))


def agreement_rows(raters: Raters, classes: Sequence[str], *, seed: int) -> list[dict[str, Any]]:
    """Of all classes (an empty class), then of each."""
    rows: list[dict[str, Any]] = []
    for name in ["", *classes]:
        for a, b in raters.pairs():
            keys = _shared(raters.answers[a], raters.answers[b], name)
            rng = np.random.default_rng([seed, len(rows)])
            found = agreement(
                _codes(raters.answers[a], keys), _codes(raters.answers[b], keys), _clusters(keys),
                n_categories=len(VERDICTS), n_draws=N_DRAWS, n_null=N_NULL, rng=rng,
            )  # fmt: skip
            rows.append(_row(name, a, b, keys, kappa=found))
        for a in raters.numbers:
            for b in raters.references(a):
                keys = [k for k in _shared(raters.numbers[a], raters.answers[b], name)
                        if raters.answers[b][k] != "uncertain"]  # fmt: skip
                rng = np.random.default_rng([seed, len(rows)])
                yes = np.array([raters.answers[b][k] == "yes" for k in keys], np.int64)
                values = np.array([raters.numbers[a][k] for k in keys], np.float64)
                rows.append(_row(name, a, b, keys, auroc=separation(
                    values, yes, _clusters(keys), n_draws=N_DRAWS, rng=rng,
                )))  # fmt: skip
    return rows


def agreement_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(AGREEMENT))


def _row(
    name: str, a: str, b: str, keys: Sequence[Key], *, kappa: Agreement | None = None, auroc: Separation | None = None
) -> dict[str, Any]:
    common = {"class": name, "rater_a": a, "rater_b": b, "n": len(keys), "n_units": len({unit for unit, _ in keys})}
    if kappa is not None:
        return common | {
            "agreement": kappa.agreement, "chance": kappa.chance, "kappa": kappa.kappa, "low": kappa.low,
            "high": kappa.high, "null_sd": kappa.null_sd, "p": kappa.p, "n_null": N_NULL,
        }  # fmt: skip
    assert auroc is not None
    return common | {"auroc": auroc.auroc, "auroc_low": auroc.low, "auroc_high": auroc.high, "n_null": None}


def _shared(a: Mapping[Key, object], b: Mapping[Key, object], name: str) -> list[Key]:
    return [key for key in a if key in b and name in ("", key[1])]


def _codes(answers: Mapping[Key, Verdict], keys: Sequence[Key]) -> np.ndarray:
    return np.array([VERDICTS.index(answers[key]) for key in keys], np.int64)


def _clusters(keys: Sequence[Key]) -> np.ndarray:
    """The classes of one unit are not independent."""
    number: dict[Unit, int] = {}
    return np.array([number.setdefault(unit, len(number)) for unit, _ in keys], np.int64)
