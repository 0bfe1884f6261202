"""`--mode explain`: the explanations of units, from files, the run's own sets and Neuronpedia, in one table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import counted, sha256_file
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.banks import NEURONS
from neuron_signatures.runs.skills.columns import UNIT_EXPLANATIONS as COLUMNS
from neuron_signatures.runs.skills.meta import CollectMeta, read_meta
from neuron_signatures.runs.skills.names import SKILLS, UNIT_EXPLANATIONS, record_name
from neuron_signatures.runs.skills.units import Banks, Unit
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.stage_results import write_table
from neuron_signatures.skills.explain.choice import UnitChoice, chosen_units
from neuron_signatures.skills.explain.explained import Explained, Origin, best_first, explanations_frame, nothing_known
from neuron_signatures.skills.explain.from_files import Left, read_files
from neuron_signatures.skills.explain.from_neuronpedia import NeuronpediaRequest, features_of, read_features, uncached
from neuron_signatures.skills.explain.from_run import read_run

STAGE = "poc7_compare_skills"
_NAMED = 5


@dataclass(frozen=True)
class ExplainUnits:
    """What is asked for. `neuronpedia` is None if nothing may be sent; `sets` None for all sets of the run."""

    run_dir: Path
    choice: UnitChoice
    files: tuple[Path, ...] = ()
    pattern: str | None = None
    neuronpedia: NeuronpediaRequest | None = None
    sets: tuple[str, ...] | None = None
    score: str = "correlation/uniform"
    flags_given: tuple[str, ...] = ()

    @property
    def origins(self) -> tuple[Origin, ...]:
        files: tuple[Origin, ...] = ("file",) if self.files else ()
        return (*files, "run", *(("neuronpedia",) if self.neuronpedia else ()))

    def settings(self) -> dict[str, Any]:
        n = self.neuronpedia
        return {
            **self.choice.settings(), "files": [path.name for path in self.files], "source_pattern": self.pattern,
            "neuronpedia": None if n is None else f"{n.model}/{n.pattern}",
            "neuronpedia_url": None if n is None else n.base_url,
            "sets": None if self.sets is None else list(self.sets), "score": self.score,
        }  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """`statuses` count units by the status of their best row. `stopped`: why it ended early; nothing was written."""

    run_dir: Path
    n_units: int
    statuses: Mapping[str, int]
    origins: Mapping[str, int]
    """Units with an explanation, by where the best one is from."""
    n_rows: int = 0
    neurons_without: tuple[str, ...] = ()
    """Neurons without an explanation, which stage 5 can explain."""
    n_failed: int = 0
    """Units about which Neuronpedia gave no valid answer."""
    n_requests: int = 0
    n_cached: int = 0
    left: Left = field(default_factory=Left)
    stopped: str = ""

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run_dir": str(self.run_dir), "n_units": self.n_units, "statuses": dict(self.statuses),
            "origins": dict(self.origins), "n_rows": self.n_rows, "n_failed": self.n_failed,
            "requests": self.n_requests,
            "from_cache": self.n_cached, "rows_of_other_units": self.left.other_unit, "empty_rows": self.left.empty,
            "stopped": self.stopped,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        found = ", ".join(f"{n:,} {status}" for status, n in sorted(self.statuses.items()))
        lines = [f"{counted(self.n_units, 'unit')}: {found or 'nothing yet'}"]
        if self.origins:
            lines.append("explained by " + ", ".join(f"{origin} ({n:,})" for origin, n in self.origins.items()))
        if self.n_requests or self.n_cached:
            lines.append(f"{counted(self.n_requests, 'request')} sent, {counted(self.n_cached, 'answer')} in the cache")
        if self.neurons_without:
            some = ",".join(self.neurons_without[:_NAMED]) + (",..." if len(self.neurons_without) > _NAMED else "")
            n = counted(len(self.neurons_without), "neuron")
            lines.append(f"{n} without an explanation: store their activations with poc4_extract_records --neurons, "
                         f"then explain them with poc5_explain_neurons --neurons={some}")  # fmt: skip
        if self.left.other_unit:
            lines.append(f"{self.left.other_unit:,} rows of the files are about other units")
        return [*lines, f"in {self.run_dir / SKILLS}/{UNIT_EXPLANATIONS}.parquet"]


@dataclass(frozen=True)
class Forecast:
    """What `--dry_run` tells."""

    n_units: int
    n_features: int
    n_requests: int
    """None are sent without `--neuronpedia`; units that files explain need none."""
    seconds: float

    def fields(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        lines = [f"{counted(self.n_units, 'unit')}, of which {counted(self.n_features, 'feature')}"]
        if self.n_requests:
            lines.append(f"{counted(self.n_requests, 'request')} to Neuronpedia, at least {self.seconds:.0f} s")
        return lines if self.n_requests else [*lines, "nothing is sent"]


def forecast(request: ExplainUnits) -> Forecast:
    """Reads everything but Neuronpedia."""
    collect = read_meta(request.run_dir, "collect", CollectMeta)
    units = chosen_units(request.run_dir, collect, request.choice)
    rows = _offline(request, units, Banks(record.bank for record in collect.banks), Left())
    n = request.neuronpedia
    missing = uncached(_unexplained(units, rows), n) if n is not None else []
    seconds = 0.0 if n is None else len(missing) * 60 / n.per_minute
    return Forecast(len(units), len(features_of(units)), len(missing), seconds)


def explain_units(request: ExplainUnits, progress: ProgressOf) -> Outcome:
    """Find the explanations and write the table and its record.

    Raises `UsageError` for units or files that are wrong, `StopSignal` after a signal.
    """
    start = time.monotonic()
    with Run.open(request.run_dir) as run:
        collect = read_meta(run.path, "collect", CollectMeta)
        units = chosen_units(run.path, collect, request.choice)
        left = Left()
        rows = _offline(request, units, Banks(record.bank for record in collect.banks), left)
        n_requests = n_cached = 0
        if request.neuronpedia is not None:
            asked = _unexplained(units, rows)
            found = read_features(asked, request.neuronpedia, progress)
            n_requests, n_cached = found.n_requests, found.n_cached
            rows += found.rows
            if found.stopped:
                return Outcome(
                    run.path, len(units), {}, {}, n_requests=n_requests, n_cached=n_cached, stopped=found.stopped
                )
        ordered = _ordered(units, rows, request.origins)
        best = {unit: of_unit[0] for unit, of_unit in ordered.items()}
        outcome = Outcome(
            run.path, len(units), dict(Counter(row.status for row in best.values())),
            dict(Counter(row.origin for row in best.values() if row.status == "ok")),
            sum(map(len, ordered.values())), _neurons_without(best), sum(map(_has_failed, best.values())), n_requests,
            n_cached, left,
        )  # fmt: skip
        _write(run, request, collect, [row for of_unit in ordered.values() for row in of_unit], outcome, start)
    return outcome


def _offline(request: ExplainUnits, units: Sequence[Unit], banks: Banks, left: Left) -> list[Explained]:
    """What is known without a network."""
    found = list(read_files(request.files, units, banks, pattern=request.pattern, left=left))
    if request.files and not found:
        what = f"the files explain none of the {counted(len(units), 'unit')}"
        raise UsageError(what, where="--explanations", next_step="Check --source_pattern and which units are chosen")
    return found + list(read_run(request.run_dir, units, sets=request.sets, score=request.score))


def _unexplained(units: Sequence[Unit], rows: Sequence[Explained]) -> list[Unit]:
    explained = {row.unit for row in rows if row.status == "ok"}
    return [unit for unit in units if unit not in explained]


def _ordered(
    units: Sequence[Unit], rows: Sequence[Explained], origins: Sequence[Origin]
) -> dict[Unit, list[Explained]]:
    """The rows of each unit, the best first; a unit without any has one that says so."""
    of_unit: dict[Unit, list[Explained]] = {unit: [] for unit in units}
    for row in rows:
        of_unit[row.unit].append(row)
    return {unit: best_first(found) or [nothing_known(unit, origins)] for unit, found in of_unit.items()}


def _neurons_without(best: Mapping[Unit, Explained]) -> tuple[str, ...]:
    return tuple(unit.label for unit, row in best.items() if row.status != "ok" and unit.bank.source == NEURONS)


def _has_failed(row: Explained) -> bool:
    """Failed explanations of the run were told by stage 5."""
    return row.origin == "neuronpedia" and row.status not in ("ok", "none")


def _write(
    run: Run, request: ExplainUnits, collect: CollectMeta, rows: Sequence[Explained], outcome: Outcome, start: float
) -> None:
    facts = {k: v for k, v in outcome.fields().items() if k not in ("run_dir", "stopped")}
    facts["input_files"] = [{"name": p.name, "sha256": sha256_file(p)} for p in request.files if p.is_file()]
    with open_results(run, SKILLS) as writer:
        writer.begin(record_name("explain"))
        write_table(writer, UNIT_EXPLANATIONS, explanations_frame(rows), COLUMNS)
        record = stage_record(
            run_identity(run), "explain", request.settings(), stage=STAGE, facts=facts,
            collect_sha256=collect.record_sha256, flags_given=list(request.flags_given),
            wall_seconds=round(time.monotonic() - start, 3),
        )  # fmt: skip
        writer.record(record_name("explain"), record)
