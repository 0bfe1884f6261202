"""Each specific unit against its control units, and the specific units of a class together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64

from neuron_signatures.skills.steer.claim import Family, family_of
from neuron_signatures.skills.steer.controls import ROLES, Role
from neuron_signatures.skills.steer.plan import Case, Plan
from neuron_signatures.skills.steer.results import Found, Results
from neuron_signatures.skills.steer.texts import ClassTexts
from neuron_signatures.stats.bootstrap import bootstrap_weights
from neuron_signatures.stats.proportions import wilson

Outcome = Literal["effect", "against_others", "class_tokens"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""`effect`: change of the mean log probability of the class's own texts; `against_others`: less the mean change over
the other classes. `class_tokens`: change of the log probability that the next token is one of the class's tokens, in
texts of the other classes."""
N_DRAWS: Final = 2000
_Z: Final = 1.959964
_MOST: Final = 0.95
"""A unit that does better than this share of its controls."""


@dataclass(frozen=True)
class Verdict:
    """One specific unit at one dose against its controls of one kind. None where it is undefined.

    `low` to `high`: 95 % bootstrap over texts. `control_low` to `control_high`: 5 and 95 % of the controls. `win_rate`
    is the share of controls with a smaller effect, with Wilson's interval. p is (1 + number of controls with at least
    the effect) / (1 + n).
    """

    case: Case
    role: Role
    outcome: Outcome
    chosen: bool
    effect: float | None
    low: float | None
    high: float | None
    control_mean: float | None
    control_sd: float | None
    control_low: float | None
    control_high: float | None
    n_controls: int
    n_undefined: int
    win_rate: float | None
    win_low: float | None
    win_high: float | None
    p: float | None
    kl: float | None
    perplexity_ratio: float | None
    control_kl: float | None


class TextDraws(NamedTuple):
    """Bootstrap weights of the texts of each class: rows of draws that sum to 1."""

    weights: tuple[Float64[np.ndarray, "draw text"], ...]


def text_draws(texts: ClassTexts, *, seed: int) -> TextDraws:
    rng = np.random.default_rng((seed, 1))
    found = []
    for rows in texts.rows.values():
        weights = bootstrap_weights([("", "")] * len(rows), n_draws=N_DRAWS, rng=rng)
        found.append(weights / weights.sum(1, keepdims=True))
    return TextDraws(tuple(found))


def verdicts(
    plan: Plan, results: Results, texts: ClassTexts, doses: Mapping[Family, float], *, seed: int,
    token_doses: Mapping[Family, float] | None = None,
) -> Iterator[Verdict]:  # fmt: skip
    """One per specific unit, dose, kind of control and outcome. `doses` are those of the claims, `token_doses` of those
    about `class_tokens`."""
    draws = text_draws(texts, seed=seed)
    for case in plan.cases():
        own = results[case.specific.bank, plan.change(case)]
        at = texts.classes.index(case.specific.for_class)
        for role in ROLES:
            others = [results[case.specific.bank, change] for change in plan.controls_of(case, role)]
            for outcome in _outcomes(own, texts):
                interval = _interval(own, at, texts, draws, outcome)
                of_outcome = token_doses if outcome == "class_tokens" and token_doses is not None else doses
                chosen = case.dose == of_outcome[family_of(case)]
                yield verdict(case, role, outcome, own, others, at=at, interval=interval, chosen=chosen)


def _outcomes(found: Found, texts: ClassTexts) -> tuple[Outcome, ...]:
    if len(texts.classes) < 2:
        return ("effect",)
    return OUTCOMES if found.tokens is not None else ("effect", "against_others")


def verdict(
    case: Case,
    role: Role,
    outcome: Outcome,
    own: Found,
    controls: Sequence[Found],
    *,
    at: int,
    interval: tuple[float | None, float | None],
    chosen: bool,
) -> Verdict:
    """`at` is the index of the unit's class."""
    read = _reader(outcome, at)
    effect, all_values = read(own), np.array([read(c) for c in controls], dtype=np.float64)
    values = all_values[np.isfinite(all_values)]
    n, known = len(values), np.isfinite(effect)
    wins, ties = int((values < effect).sum()), int((values >= effect).sum())
    defined = bool(known and n)
    low, high = wilson(np.array([wins]), np.array([n]), _Z) if defined else (None, None)
    five, ninety_five = np.percentile(values, [5, 95]) if n else (None, None)
    return Verdict(
        case,
        role,
        outcome,
        chosen,
        effect=_known(effect),
        low=interval[0],
        high=interval[1],
        control_mean=float(values.mean()) if n else None,
        control_sd=float(values.std()) if n else None,
        control_low=None if five is None else float(five),
        control_high=None if ninety_five is None else float(ninety_five),
        n_controls=n,
        n_undefined=len(all_values) - n,
        win_rate=wins / n if defined else None,
        win_low=None if low is None else float(low[0]),
        win_high=None if high is None else float(high[0]),
        p=(1 + ties) / (1 + n) if defined else None,
        kl=_known(own.kl),
        perplexity_ratio=_known(own.perplexity_ratio),
        control_kl=_median([c.kl for c in controls]),
    )


@dataclass(frozen=True)
class Together:
    """The specific units of one class and source at the dose of the claim, against controls of one kind.

    Medians are over units, and their 95 % intervals and that of the mean `win_rate` are bootstrapped over units: with
    few units they are rough. `n_above` units do better than 95 % of their controls.
    """

    for_class: str
    source: str
    edit: str
    role: str
    outcome: str
    dose: float
    n_units: int
    n_undefined: int
    median_effect: float | None
    low: float | None
    high: float | None
    win_rate: float | None
    win_low: float | None
    win_high: float | None
    n_above: int
    n_raised: int
    """Units with an effect above 0."""
    control_median: float | None
    kl: float | None
    control_kl: float | None
    perplexity_ratio: float | None

    def row(self) -> dict[str, str | float | int | None]:
        return asdict(self)


def together(found: Sequence[Verdict], *, seed: int) -> list[Together]:
    """One per family, kind of control and outcome, at the dose of the claim."""
    groups: dict[tuple[Family, Role, Outcome], list[Verdict]] = defaultdict(list)
    for v in found:
        if v.chosen:
            groups[family_of(v.case), v.role, v.outcome].append(v)
    return [_together(*key, some, seed=seed) for key, some in groups.items()]


def _together(family: Family, role: Role, outcome: Outcome, some: Sequence[Verdict], *, seed: int) -> Together:
    known = [v for v in some if v.effect is not None and v.win_rate is not None]
    effects = np.array([v.effect for v in known], dtype=np.float64)
    wins = np.array([v.win_rate for v in known], dtype=np.float64)
    low, high = _over_units(effects, np.median, seed=seed)
    win_low, win_high = _over_units(wins, np.mean, seed=seed)
    return Together(
        *family,
        role,
        outcome,
        dose=some[0].case.dose,
        n_units=len(some),
        n_undefined=len(some) - len(known),
        median_effect=float(np.median(effects)) if len(known) else None,
        low=low,
        high=high,
        win_rate=float(wins.mean()) if len(known) else None,
        win_low=win_low,
        win_high=win_high,
        n_above=int((wins > _MOST).sum()),
        n_raised=int((effects > 0).sum()),
        control_median=_median([v.control_mean for v in known]),
        kl=_median([v.kl for v in some]),
        control_kl=_median([v.control_kl for v in some]),
        perplexity_ratio=_median([v.perplexity_ratio for v in some]),
    )


def _over_units(
    values: Float64[np.ndarray, " unit"], statistic: Callable[..., np.ndarray], *, seed: int
) -> tuple[float | None, float | None]:
    """95 % bootstrap interval; undefined for one unit."""
    if len(values) < 2:
        return None, None
    rng = np.random.default_rng((seed, 2))
    drawn = statistic(values[rng.integers(0, len(values), size=(N_DRAWS, len(values)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _interval(
    own: Found, at: int, texts: ClassTexts, draws: TextDraws, outcome: Outcome
) -> tuple[float | None, float | None]:
    """95 % bootstrap interval of the effect over the texts of each class."""
    values = own.texts if outcome != "class_tokens" or own.token_texts is None else own.token_texts[at]
    assert values is not None
    if not np.isfinite(values).all():
        return None, None
    means = np.stack([w @ values[rows] for w, rows in zip(draws.weights, texts.rows.values(), strict=True)])
    others = np.delete(means, at, axis=0)
    drawn = others.mean(0) if outcome == "class_tokens" else means[at]
    if outcome == "against_others":
        drawn = means[at] - others.mean(0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _reader(outcome: Outcome, at: int) -> Callable[[Found], float]:
    if outcome == "class_tokens":
        return lambda f: math.nan if f.tokens is None else float(f.tokens[at])
    return (lambda f: float(f.by_class[at])) if outcome == "effect" else (lambda f: f.against_others(at))


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.median(known)) if known else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
