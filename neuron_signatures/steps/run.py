"""Running the steps of a pipeline that are not done, and recording each in the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from neuron_signatures.cli.output import emit
from neuron_signatures.runs.errors import ExitCode, ProjectError, StoppedEarly, UsageError, escape_controls, shorten
from neuron_signatures.runs.files import counted, explain_os_errors, human_seconds, sha256_file
from neuron_signatures.runs.lock import lock_file
from neuron_signatures.runs.names import META, PIPELINE_LOCK
from neuron_signatures.runs.pipeline_record import StepRecord, read_pipeline, write_pipeline
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.runs.writer import check_place
from neuron_signatures.steps.config import Config
from neuron_signatures.steps.digests import digests_of
from neuron_signatures.steps.losses import refuse_losses, remove_replaced
from neuron_signatures.steps.plan import MAIN_RECORDS, Planned, plan_of
from neuron_signatures.steps.process import Stopping, run_stage
from neuron_signatures.steps.step import Step, refuse_missing_stages, steps_of

_SHOWN_LINES, _SHOWN_COLUMNS = 8, 160
_AGAIN = "run the same pipeline again: what is done is kept"


class StepFailed(ProjectError):
    """A step ended with an error, which the stage has reported. The exit code is that of the stage."""

    def __init__(self, what: str, code: int, *, next_step: str) -> None:
        self.exit_code = code  # type: ignore[assignment]  # also 128 + a signal
        super().__init__(what, next_step=next_step)


@dataclass(frozen=True)
class Options:
    """`until`: the last step or table that runs; None for all."""

    overwrite: bool
    until: str | None
    quiet: bool
    show: bool
    """Whether the plan, the steps and the beginnings of what they print are shown."""


@dataclass
class Ran:
    """A step that has run."""

    name: str
    seconds: float
    some_failed: bool


@dataclass
class Outcome:
    """`plan` has all steps; `ran` those that were run, in their order."""

    run_dir: Path
    plan: list[Planned]
    ran: list[Ran] = field(default_factory=list)

    @property
    def some_failed(self) -> list[str]:
        return [r.name for r in self.ran if r.some_failed]


ShowPlan = Callable[[list[Planned]], None]


def make_plan(config: Config, options: Options, show_plan: ShowPlan) -> list[Planned]:
    """What has to be done, up to `--until`. Changes nothing.

    Raises `UsageError` for a wrong configuration, and once the plan is shown for results that would be lost.
    """
    steps = _asked_steps(config, options)
    plan = plan_of(steps, config.run_dir, read_pipeline(config.run_dir), overwrite=options.overwrite)
    show_plan(plan)
    refuse_losses(plan, config.run_dir, overwrite=options.overwrite)
    return plan


def run_pipeline(config: Config, options: Options, show_plan: ShowPlan) -> Outcome:
    """Run what is not done. Raises `StoppedEarly` after a signal or at the end of a budget, `StepFailed` if a stage
    fails, and the errors of `make_plan`."""
    run_dir = config.run_dir
    _asked_steps(config, options)  # before a folder is made
    check_place(run_dir)
    with explain_os_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    stopping = Stopping()
    with lock_file(run_dir, PIPELINE_LOCK, "another pipeline is running"), stopping.listening():
        plan = make_plan(config, options, show_plan)
        outcome = Outcome(run_dir, plan)
        for number, planned in enumerate(plan, start=1):
            if planned.action != "done":
                if stopping.signal:
                    raise StoppedEarly(f"stopped by {stopping.signal}", next_step=f"To continue, {_AGAIN}")
                at = f"step {number}/{len(plan)} {planned.step.name}"
                outcome.ran.append(_Run(config, options, stopping, [p.step for p in plan]).step(planned, at))
    return outcome


@dataclass(frozen=True)
class _Run:
    config: Config
    options: Options
    stopping: Stopping
    steps: list[Step]

    def step(self, planned: Planned, at: str) -> Ran:
        step, run_dir = planned.step, self.config.run_dir
        if planned.action == "replace":
            remove_replaced(planned, run_dir)
        more = planned.result_flags
        digests = digests_of(self.steps, run_dir)[step.name]  # what steps before have written counts
        record = StepRecord(
            stage=step.stage.table, name=step.name, status="started", command=step.command(*more),
            settings=step.in_results, inputs=dict(digests.inputs), digest=digests.full, base=digests.base,
            after=dict(digests.after), version=digests.version, results=_main_record(step, run_dir),
        )  # fmt: skip
        known = self._store(planned, record)
        before, start = _stage_records(step, run_dir), time.monotonic()
        self._say(f"{at}: {record.command}")
        shown = _Shown(self._say)
        code = run_stage(step.stage.module, step.argv(*more, quiet=self.options.quiet), self.stopping, shown.line)
        shown.end()
        seconds = time.monotonic() - start
        some_failed = code == ExitCode.FAILED and step.stage.some_may_fail and shown.n > 0
        if code in (ExitCode.USAGE, ExitCode.LOCKED):  # the stage has written nothing
            write_pipeline(run_dir, str(self.config.path), known)
        if code != ExitCode.OK and not some_failed:
            raise self._ended(at, code, record.command)
        self._say(f"{at}: done in {human_seconds(seconds)}{', with failed requests' if some_failed else ''}")
        results = _results(step, run_dir, before, planned.record)
        done = {"status": "done", "results": results, "finished_at_utc": now_utc(), "seconds": round(seconds, 1)}
        self._store(planned, record.model_copy(update=done))
        return Ran(step.name, round(seconds, 1), some_failed)

    def _say(self, line: str) -> None:
        if self.options.show:
            emit(escape_controls(line))

    def _store(self, planned: Planned, record: StepRecord) -> list[StepRecord]:
        """Replace the record of this step; returns all records before."""
        found = read_pipeline(self.config.run_dir)
        known = found.steps if found else []
        old = planned.record.digest if planned.record else None
        kept = [r for r in known if r.digest not in (old, record.digest)]
        write_pipeline(self.config.run_dir, str(self.config.path), [*kept, record])
        return known

    def _ended(self, at: str, code: int, command: str) -> ProjectError:
        if (
            code == ExitCode.RESUMABLE or self.stopping.signal
        ):  # also while Python itself starts, which then exits with 1
            signal = f" by {self.stopping.signal}" if self.stopping.signal else ""
            return StoppedEarly(f"{at} was stopped{signal}; finished work is kept", next_step=f"To continue, {_AGAIN}")
        what = f"{at} failed with exit code {code}: {shorten(command, 160)}"
        return StepFailed(what, code, next_step=f"Correct what it says above, then {_AGAIN}")


class _Shown:
    """Shows the first lines of what a stage prints, and counts the others."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.n = 0
        self._say = say

    def line(self, text: str) -> None:
        self.n += 1
        if self.n <= _SHOWN_LINES:
            self._say(f"    {shorten(text, _SHOWN_COLUMNS)}")

    def end(self) -> None:
        if self.n > _SHOWN_LINES:
            self._say(f"    ... {counted(self.n - _SHOWN_LINES, 'more line')}")


def _asked_steps(config: Config, options: Options) -> list[Step]:
    """All steps, or those up to the last one of the name or table `--until`."""
    steps, until = steps_of(config), options.until
    if until is not None:
        found = [i for i, s in enumerate(steps, start=1) if until in (s.name, s.stage.table)]
        if not found:
            names = ", ".join(s.name for s in steps)
            raise UsageError("there is no such step", where=f"--until {until}", next_step=f"Steps: {names}")
        steps = steps[: found[-1]]
    refuse_missing_stages(steps, config.run_dir, config.path)
    return steps


def _stage_records(step: Step, run_dir: Path) -> dict[str, int]:
    """Times of modification of the stage records of this stage, by path in the run."""
    folder = run_dir / step.stage.folder
    found = folder.rglob(f"*{META}") if step.stage.folder else ()
    return {p.relative_to(run_dir).as_posix(): p.stat().st_mtime_ns for p in found}


def _main_record(step: Step, run_dir: Path) -> dict[str, str]:
    name = MAIN_RECORDS.get(step.stage.replaces)
    return {name: sha256_file(run_dir / name)} if name and (run_dir / name).is_file() else {}


def _results(step: Step, run_dir: Path, before: dict[str, int], known: StepRecord | None) -> dict[str, str]:
    """Checksums of the stage records that the step has written or found to be its own."""
    folder = Path(step.stage.folder)
    names = [(folder / name).as_posix() for name in step.stage.records(step.settings)]
    if not names:
        now = _stage_records(step, run_dir)
        names = [name for name, time_ns in now.items() if before.get(name) != time_ns]
        names = names or (list(known.results) if known else [])
    return {name: sha256_file(run_dir / name) for name in names if (run_dir / name).is_file()}
