"""What the tests of a circuit found, as rows and sentences: faithfulness of sets, and swaps of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.circuits.folder import CHECKS, CURVES, SWAPS, circuit_folder
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.stage_results import AGAIN, ResultRecord
from neuron_signatures.stats.chance import shown_p

GOOD = 0.9
"""Faithfulness from which a set counts as enough, as in the bars of the method."""
_WEAK, _FEW = 0.5, 5
"""Correlation below which a predictor is not trusted, and fewest measurements for saying so."""


@dataclass(frozen=True)
class CurveRow:
    """Sets of the k strongest neurons at positions: what they keep, and what is left without them. See the table
    `curves`; numbers that are not defined are None."""

    k: int
    n_units: int | None = None
    faithfulness: float | None = None
    random_mean: float | None = None
    random_sd: float | None = None
    random_high: float | None = None
    p: float | None = None
    complement: float | None = None
    complement_random_mean: float | None = None
    complement_random_sd: float | None = None
    complement_random_low: float | None = None
    complement_p: float | None = None
    n_random: int | None = None


@dataclass(frozen=True)
class SwapRow:
    """A group's activations replaced by those of another prompt. See the table `swaps`."""

    group: str
    n_neurons: int | None = None
    other_prompt: str | None = None
    answer_before: str | None = None
    answer_after: str | None = None
    answer_other: str | None = None
    flipped: bool | None = None
    moved: float | None = None
    random_flip_share: float | None = None
    null_mean: float | None = None
    null_sd: float | None = None
    p: float | None = None
    n_null: int | None = None


@dataclass(frozen=True)
class Checks:
    """The tests of one circuit."""

    curves: tuple[CurveRow, ...]
    """In order of k."""
    swaps: tuple[SwapRow, ...]
    record: ResultRecord
    outdated: bool
    """Whether the circuit was traced again since."""

    @property
    def own(self) -> CurveRow | None:
        """The set of the circuit's own neurons; None if it was not tested."""
        found = self.record.facts.get("circuit")
        if not isinstance(found, dict) or not isinstance(found.get("k"), int):
            return None
        kept, left = (_chance(found.get(name)) for name in ("random", "complement_random"))
        return CurveRow(
            found["k"], None, _float(found.get("faithfulness")), kept.get("mean"), kept.get("sd"), kept.get("high"),
            kept.get("p"), _float(found.get("complement")), left.get("mean"), left.get("sd"), left.get("low"),
            left.get("p"), int(kept["n"]) if "n" in kept else None,
        )  # fmt: skip


def read_checks(run_dir: Path, name: str) -> Checks | None:
    """None if the circuit has not been tested. Raises `BadRunError` for damaged results."""
    folder = circuit_folder(name)
    if CHECKS not in folder.finished(run_dir):
        return None
    record = folder.read_record(run_dir, CHECKS)
    try:
        curves = TypeAdapter(list[CurveRow]).validate_python(folder.read_rows(run_dir, CURVES))
        swaps = TypeAdapter(list[SwapRow]).validate_python(folder.read_rows(run_dir, SWAPS))
    except ValidationError as e:
        what = "its tables do not hold tests of a circuit"
        raise BadRunError(what, where=str(run_dir / folder.folder), next_step=AGAIN) from e
    outdated = bool(folder.outdated(run_dir, record))
    return Checks(tuple(sorted(curves, key=lambda c: c.k)), tuple(swaps), record, outdated)


def headline_row(curves: tuple[CurveRow, ...]) -> CurveRow | None:
    """Of the sets that were compared with random ones the smallest that is faithful enough (`GOOD`), else the largest;
    without such a comparison, of all sets. None without a defined faithfulness."""
    known = [c for c in curves if c.faithfulness is not None]
    known = [c for c in known if c.random_mean is not None] or known
    return next((c for c in known if (c.faithfulness or 0.0) >= GOOD), known[-1] if known else None)


def tested_sentences(checks: Checks, *, brief: bool = False) -> list[str]:
    """What the circuit's own neurons keep, then the smallest set that is faithful enough; empty if nothing is known."""
    rows = (("own neurons of the circuit", checks.own), ("strongest neurons", headline_row(checks.curves)))
    words = faithfulness_brief if brief else faithfulness_words
    return [words(row, what) for what, row in rows if row is not None and row.faithfulness is not None]


def faithfulness_words(c: CurveRow, what: str = "strongest neurons") -> str:
    """`the 200 strongest neurons keep 0.97 of the target (random sets 0.02 ± 0.05, p ≤ 0.001, 1,000 sets); without them
    0.19 is left (random sets 0.99 ± 0.02)`."""
    kept = f"the {c.k:,} {what} keep {_number(c.faithfulness)} of the target function"
    null = _null(c.random_mean, c.random_sd, c.p, c.n_random)
    if c.complement is None:
        return f"{kept}{null}"
    left = f"without them {_number(c.complement)} is left"
    return f"{kept}{null}; {left}{_null(c.complement_random_mean, c.complement_random_sd, c.complement_p, c.n_random)}"


def faithfulness_brief(c: CurveRow, what: str = "strongest neurons") -> str:
    """`200 strongest neurons keep 0.97 (random 0.02 ± 0.05, p ≤ 0.001), without 0.19 (random 0.99 ± 0.02, p ≤ 0.1)`."""
    kept = _null(c.random_mean, c.random_sd, c.p, c.n_random, short=True)
    left = _null(c.complement_random_mean, c.complement_random_sd, c.complement_p, c.n_random, short=True)
    without = "" if c.complement is None else f", without {_number(c.complement)}{left}"
    return f"{c.k:,} {what.removesuffix(' of the circuit')} keep {_number(c.faithfulness)}{kept}{without}"


def swap_words(swaps: tuple[SwapRow, ...]) -> list[str]:
    """One sentence for each group: how often the answer follows and how far it moves, beside random neurons."""
    found = []
    for group in dict.fromkeys(s.group for s in swaps):
        own = [s for s in swaps if s.group == group and s.flipped is not None]
        if not own:
            continue
        random = [s.random_flip_share for s in own if s.random_flip_share is not None]
        beside = f", of random neurons in {_mean(random):.0%}" if random else ""
        moved = [s.moved for s in own if s.moved is not None]
        null = [(s.null_mean, s.null_sd) for s in own if s.null_mean is not None and s.null_sd is not None]
        by = f"; it moves by {_mean(moved):+.2f} in the mean" if moved else ""
        spread = f" (random {_mean([m for m, _ in null]):+.2f} ± {_mean([sd for _, sd in null]):.2f})" if null else ""
        flips = f"{sum(bool(s.flipped) for s in own)} of {len(own)}"
        found.append(f'a swap of "{group}" flips the answer in {flips} cases{beside}{by}{spread if by else ""}')
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class Agreement(NamedTuple):
    """How well a predictor agrees with ablations, over the edges or nodes that were measured."""

    what: str
    predictor: str
    pearson: float
    n: int


def agreements(record: ResultRecord) -> list[Agreement]:
    """What the trace found where it measured; empty without measurements."""
    found = record.facts.get("measured")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return [
        Agreement(str(row.get("what", ""))[:60], str(row.get("predictor", ""))[:60], float(row["pearson"]), row["n"])
        for row in rows
        if isinstance(row.get("pearson"), int | float) and isinstance(row.get("n"), int)
    ]


def scores_doubt(found: Sequence[Agreement]) -> str:
    """What to say if the scores of nodes do not predict their ablations; empty if they do, or nothing was measured."""
    nodes = {a.predictor: a for a in found if a.what == "nodes"}
    score, effect = nodes.get("half rule"), nodes.get("plain gradient")
    if score is None or score.n < _FEW or score.pearson >= _WEAK:
        return ""
    better = f"; total effects do (Pearson {effect.pearson:.2f})" if effect and effect.pearson >= _WEAK else ""
    return f"scores hardly predict ablations here (Pearson {score.pearson:.2f}, n {score.n}){better}"


def agreement_words(found: Sequence[Agreement]) -> list[str]:
    """`nodes: Pearson with ablations 0.97 by the plain gradient, 0.15 by the half rule (n 44)`."""
    said = []
    for what in dict.fromkeys(a.what for a in found):
        own = sorted((a for a in found if a.what == what), key=lambda a: -a.pearson)
        values = ", ".join(f"{a.pearson:.2f} by the {a.predictor}" for a in own)
        said.append(f"{what}: Pearson with ablations {values} (n {own[0].n})")
    return said


def _chance(found: object) -> dict[str, float]:
    """The numbers of a stored comparison with random draws."""
    return {k: float(v) for k, v in found.items() if _float(v) is not None} if isinstance(found, dict) else {}


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _null(mean: float | None, sd: float | None, p: float | None, n: int | None, *, short: bool = False) -> str:
    if mean is None:
        return ""
    spread = f" ± {sd:.2f}" if sd is not None else ""
    chance = f", p {shown_p(p, n, '.1g')}" if p is not None else ""
    draws = f", {n:,} sets" if n and not short else ""
    return f" (random{'' if short else ' sets'} {mean:.2f}{spread}{chance}{draws})"


def _number(value: float | None) -> str:
    return "an undefined share" if value is None else f"{value:.2f}"
