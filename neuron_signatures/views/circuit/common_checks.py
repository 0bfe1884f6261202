"""What the common neurons of several circuits keep of each prompt, and on average. Read without torch and pandas."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.circuits.folder import COMMON_CHECKS, circuit_folder
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.stage_results import AGAIN
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.circuit.checks import CurveRow


@dataclass(frozen=True, kw_only=True)
class CommonCheckRow(CurveRow):
    """The common neurons in one prompt. See the table `common_checks`."""

    circuit: str
    held_out: bool | None = None
    n_common: int | None = None


@dataclass(frozen=True)
class Kept:
    """Shares of the target function over prompts: mean and standard deviation (None of fewer than two), those of
    random sets, and the largest p. None where nothing is defined."""

    mean: float | None
    sd: float | None
    random_mean: float | None
    random_sd: float | None
    """The mean over the prompts of the standard deviation of one prompt's random sets."""
    largest_p: float | None


@dataclass(frozen=True)
class CommonKept:
    """Of `n` prompts, of which `n_scored` have enough of a target function to be shared out."""

    n: int
    n_scored: int
    n_random: int | None
    """The smallest number of random sets of a prompt."""
    keep: Kept
    left: Kept
    """Without the common neurons."""


def read_common_checks(run_dir: Path, name: str) -> tuple[CommonCheckRow, ...]:
    """Empty if the common circuit was not tested, or was made again since. Raises `BadRunError` for damaged results."""
    folder = circuit_folder(name)
    if COMMON_CHECKS not in folder.finished(run_dir):
        return ()
    if folder.outdated(run_dir, folder.read_record(run_dir, COMMON_CHECKS)):
        return ()
    try:
        return TypeAdapter(tuple[CommonCheckRow, ...]).validate_python(folder.read_rows(run_dir, COMMON_CHECKS))
    except ValidationError as e:
        what = "its tables do not hold tests of common neurons"
        raise BadRunError(what, where=str(run_dir / folder.folder), next_step=AGAIN) from e


def common_kept(rows: Sequence[CommonCheckRow]) -> CommonKept:
    """What the common neurons keep of these prompts."""
    scored = [row for row in rows if row.faithfulness is not None]
    draws = [row.n_random for row in scored if row.n_random]
    keep = _kept([(r.faithfulness, r.random_mean, r.random_sd, r.p) for r in scored])
    left = _kept([(r.complement, r.complement_random_mean, r.complement_random_sd, r.complement_p) for r in scored])
    return CommonKept(len(rows), len(scored), min(draws, default=None), keep, left)


def common_check_words(rows: Sequence[CommonCheckRow]) -> list[str]:
    """A sentence on the held-out prompts and one on the others; empty without tests."""
    held = [row for row in rows if row.held_out]
    own = [row for row in rows if not row.held_out]
    parts = ((counted(len(held), "held-out prompt"), held),
             (f"{counted(len(own), 'prompt')} of the circuits, each left out of what is common,", own))  # fmt: skip
    return [_words(what, common_kept(some)) for what, some in parts if some]


def _words(what: str, found: CommonKept) -> str:
    scored = "" if found.n_scored == found.n else f" ({found.n_scored} can be scored)"
    if not found.n_scored:
        return f"in {what} the common neurons cannot be scored"
    return (
        f"in {what}{scored} the common neurons keep {_spread(found.keep.mean, found.keep.sd)} of the target function"
        f"{_random(found.keep, found.n_random)}; without them {_spread(found.left.mean, found.left.sd)} is left"
        f"{_random(found.left, found.n_random)}"
    )


def _random(kept: Kept, n_random: int | None) -> str:
    if kept.random_mean is None:
        return ""
    random = _spread(kept.random_mean, kept.random_sd)
    return f" (random sets {random}, largest p {shown_p(kept.largest_p, n_random, '.1g')})"


def _spread(mean: float | None, sd: float | None) -> str:
    return "-" if mean is None else f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def _kept(rows: Sequence[tuple[float | None, float | None, float | None, float | None]]) -> Kept:
    columns = zip(*rows, strict=True) if rows else ((),) * 4
    shares, random, spreads, ps = ([v for v in values if v is not None] for values in columns)
    sd = statistics.stdev(shares) if len(shares) > 1 else None
    return Kept(_mean(shares), sd, _mean(random), _mean(spreads), max(ps, default=None))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
