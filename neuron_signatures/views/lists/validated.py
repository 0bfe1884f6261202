"""How well a validation found that a ranked list orders neurons, to show beside the list's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.result_records import (
    InfluenceRecord,
    MetricValidation,
    RandomControl,
    ValidationRecord,
    read_record,
)
from neuron_signatures.views.lists.ranked import ListRef

_MAX_P = 0.05


class Validated(NamedTuple):
    """The numbers of one list in a validation of the same prompt, target and reference."""

    stem: str
    """Of the validation."""
    spearman: float | None
    low: float | None
    high: float | None
    """The 95 % interval; None if all pairs were measured."""
    null_spread: float | None
    """Standard deviation of Spearman for a random order of the pairs; None for a weighted sample of them."""
    cmd: float | None
    cmd_spread: float | None
    control: RandomControl | None
    """The smallest set that was compared with random sets."""
    best_single: bool
    best_sets: bool

    def short(self) -> str:
        """`Spearman 0.965, CMD 0.061`, with `*` for the best of its validation; empty if both are undefined."""
        single = "" if self.spearman is None else f"Spearman {self.spearman:.3f}{'*' if self.best_single else ''}"
        sets = "" if self.cmd is None else f"CMD {self.cmd:.3f}{'*' if self.best_sets else ''}"
        return ", ".join(filter(None, (single, sets)))

    def lines(self) -> list[tuple[str, str]]:
        """Label and text: agreement with single ablations, and with sets against random sets, each with its null."""
        found = []
        if self.spearman is not None:
            ends = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
            random = f"random order 0{'' if self.null_spread is None else f' ± {self.null_spread:.3f}'}"
            best = "; best of its validation" if self.best_single else ""
            found.append(("single neurons", f"Spearman {self.spearman:.3f}{ends} with ablation; {random}{best}"))
        if self.cmd is not None:
            spread = "" if self.cmd_spread is None else f" ± {self.cmd_spread:.3f}"
            best = "; best of its validation" if self.best_sets else ""
            found.append(("sets", f"CMD {self.cmd:.3f}{spread}{self._against_random()}{best}"))
        return found

    def _against_random(self) -> str:
        c = self.control
        if c is None or c.observed is None or c.random_mean is None:
            return ""
        spread = "" if c.random_std is None else f" ± {c.random_std:.3f}"
        p = "" if c.p is None else f", p {c.p:.2g}"
        return f"; first {c.k}: {c.observed:.3f}, random sets {c.random_mean:.3f}{spread} ({c.n_random:,} draws{p})"


def validations(run_dir: Path, refs: Iterable[ListRef]) -> Mapping[str, Validated]:
    """By stem, the lists that the newest validation of their prompt, target and reference includes.

    Files that cannot be read are left out; `unreadable_validations` has the reasons.
    """
    records = sorted(_read(run_dir)[0], key=lambda pair: pair[1].created_at_utc, reverse=True)
    found: dict[str, Validated] = {}
    for ref in refs if records else ():
        own = _influence(run_dir, ref)
        for stem, record in records if own else ():
            metric = next((m for m in record.metrics if own and m.metric == own.metric), None)
            if own and metric and _ranking(own) == _ranking(record, own.metric):
                found[ref.stem] = _validated(stem, record, metric)
                break
    return found


def unreadable_validations(run_dir: Path) -> list[str]:
    """The file, the field and the reason of each validation that cannot be read."""
    return _read(run_dir)[1]


def landing_list(run_dir: Path, refs: Iterable[ListRef]) -> ListRef | None:
    """The list that a viewer opens first: of the newest influence target, the list that validation found best.

    Which neurons made the model say this is a question about a set. So best is the winner for sets, else the least CMD
    of the lists whose first neurons beat random sets (p ≤ 0.05), else the highest Spearman. Without a validation, the
    newest influence list, then peaks, signatures, the newest contrast; None if no list can be read.
    """
    readable = [r for r in refs if not r.problem]
    influence = [r for r in readable if r.kind == "influence"]
    found = validations(run_dir, influence)
    if influence:
        newest = _influence(run_dir, influence[0])
        same = [
            r for r in influence if newest and (own := _influence(run_dir, r)) and _question(own) == _question(newest)
        ]
        checked = [(r, found[r.stem]) for r in same if r.stem in found]
        return max(checked, key=lambda pair: _quality(pair[1]))[0] if checked else influence[0]
    return next((r for kind in ("peaks", "signatures", "contrast") for r in readable if r.kind == kind), None)


def best_line(winner: str | None, why: str | None) -> str:
    """The best ranking with the reason, or why there is none. Earlier records have no reason."""
    if why is None:
        return winner or "undecided"
    return why if winner else f"none: {why}"


def measured_line(v: ValidationRecord) -> str:
    """What rankings are compared with, and how many effects are known."""
    if v.n_pairs is None or v.n_measured is None:
        return v.truth
    if v.sampled:
        return f"{v.truth}: a sample of {v.n_measured:,} of {v.n_pairs:,} (neuron, position) pairs"
    if v.n_measured == v.n_pairs:
        return f"{v.truth}: all {v.n_pairs:,} (neuron, position) pairs"
    chosen = f", chosen by --top_from {v.top_from}" if v.top_from else ""
    return f"{v.truth}: {v.n_measured:,} of {v.n_pairs:,} (neuron, position) pairs{chosen}"


def _ranking(record: InfluenceRecord | ValidationRecord, metric: str = "") -> tuple[object, ...]:
    """What a ranking was computed from; equal for a list and the validation that measured it."""
    own, s = metric or getattr(record, "metric", ""), record.settings
    path = (s.ig_steps, s.ig_path) if own == "ig" else ()
    reference = record.reference, record.reference_records
    return (_target(record), *reference, s.positions, record.analysis_dtype, record.run, *path)


def _target(record: InfluenceRecord | ValidationRecord) -> tuple[object, ...]:
    return (*_question(record), record.target.function)


def _question(record: InfluenceRecord | ValidationRecord) -> tuple[object, ...]:
    """What is explained; dla and prob_increase have a function of their own for it."""
    t = record.target
    foil = None if t.foil is None else t.foil.token_id
    return record.prompt_id, t.pos, t.token.token_id, foil


def _quality(v: Validated) -> tuple[bool, float, float]:
    beats_random = v.control is not None and v.control.p is not None and v.control.p <= _MAX_P
    sets = -v.cmd if v.cmd is not None and beats_random else -math.inf
    return v.best_sets, sets, -1.0 if v.spearman is None else v.spearman


def _validated(stem: str, record: ValidationRecord, m: MetricValidation) -> Validated:
    control = min(m.controls, key=lambda c: c.k, default=None)
    n = record.n_measured or 0
    spread = (n - 1) ** -0.5 if n > 1 and not record.sampled else None
    return Validated(
        stem, m.spearman, m.spearman_low, m.spearman_high, spread, m.cmd, m.cmd_spread, control,
        record.winner_single == m.metric, record.winner_sets == m.metric,
    )  # fmt: skip


def _read(run_dir: Path) -> tuple[list[tuple[str, ValidationRecord]], list[str]]:
    """The validations by stem, and the faults of those that cannot be read."""
    found, faults = [], []
    for stem in results.list_validations(run_dir):
        try:
            found.append((stem, read_record(run_dir, f"{stem}.json", ValidationRecord)))
        except ProjectError as e:
            faults.append(e.line())
    return found, faults


def _influence(run_dir: Path, ref: ListRef) -> InfluenceRecord | None:
    if ref.kind != "influence" or ref.problem:
        return None
    try:
        return read_record(run_dir, results.meta_name(ref.stem), InfluenceRecord)
    except ProjectError:  # a list in CSV has no record of ours
        return None
