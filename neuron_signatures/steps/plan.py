"""What a pipeline has to do: each step is compared with what the run has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from neuron_signatures.runs.errors import shorten
from neuron_signatures.runs.explanations.meta import read_settings
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.names import JOURNAL, MANIFEST
from neuron_signatures.runs.pipeline_record import PipelineRecord, StepRecord, changed_results
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.skills.names import SKILLS, record_name
from neuron_signatures.steps.digests import Digests, digests_of
from neuron_signatures.steps.scored import scores_of
from neuron_signatures.steps.stages import explanation_set
from neuron_signatures.steps.step import Step

Action = Literal["done", "new", "again", "replace"]
MAIN_RECORDS: Final = {"run": MANIFEST, "records": f"{RECORDS}/{RECORDS_META}",
                       "skills": f"{SKILLS}/{record_name('collect')}"}  # fmt: skip
"""The record that is there as long as nothing was replaced, by what a step replaces."""


@dataclass(frozen=True)
class Planned:
    """A step and what is done about it.

    `new`: nothing is known of it. `again`: what is there is kept as far as it fits; `replace`: it cannot be kept.
    """

    step: Step
    action: Action
    why: str
    digests: Digests
    record: StepRecord | None
    """What the run says about this step, or about the one that it changes."""

    @property
    def text(self) -> str:
        return {"done": "done", "new": "new", "again": "again", "replace": "replaced"}[self.action] + (
            f": {self.why}" if self.why else ""
        )

    @property
    def result_flags(self) -> tuple[str, ...]:
        """The flags by which the stage keeps or replaces what is there."""
        if self.step.stage.replaces not in MAIN_RECORDS:
            return ()
        return ("--overwrite",) if self.action == "replace" else ("--resume",)


def plan_of(steps: Sequence[Step], run_dir: Path, record: PipelineRecord | None, *, overwrite: bool) -> list[Planned]:
    """What to do about each step, in their order. Changes nothing; raises `UsageError` for files that cannot be read.

    With `overwrite`, a run that no pipeline has made is replaced; else its stages check whether it fits.
    """
    digests = digests_of(list(steps), run_dir)
    known = _matches(steps, digests, list(record.steps) if record else [])
    planned: dict[str, Planned] = {}
    for step in steps:
        planned[step.name] = _plan(step, digests[step.name], known[step.name], planned, run_dir, overwrite=overwrite)
    return list(planned.values())


def _matches(
    steps: Sequence[Step], digests: Mapping[str, Digests], records: list[StepRecord]
) -> dict[str, StepRecord | None]:
    """Of each step the record with its digest, else the most similar one of those that no other step has."""
    found: dict[str, StepRecord | None] = {}
    rest = list(records)
    for step in steps:
        same = next((r for r in rest if r.stage == step.stage.table and r.digest == digests[step.name].full), None)
        found[step.name] = same
        if same is not None:
            rest.remove(same)
    for step in steps:
        if found[step.name] is None and (similar := _most_similar(step, rest)) is not None:
            found[step.name] = similar
            rest.remove(similar)
    return found


def _most_similar(step: Step, records: Sequence[StepRecord]) -> StepRecord | None:
    """A record with the same result or mode: of those the one with the fewest differences."""
    candidates = [r for r in records if r.stage == step.stage.table and _is_about(step, r.settings)]
    return min(candidates, key=lambda r: len(changed_settings(r.settings, step.in_results)), default=None)


def _is_about(step: Step, settings: Mapping[str, Any]) -> bool:
    if step.stage.replaces == "set":
        return explanation_set(settings) == explanation_set(step.settings)
    return all(settings.get(key) == step.settings.get(key) for key in step.stage.named_by)


def _plan(
    step: Step, digests: Digests, known: StepRecord | None, before: Mapping[str, Planned], run_dir: Path, *,
    overwrite: bool,
) -> Planned:  # fmt: skip
    run_is_replaced = any(p.action == "replace" and p.step.stage.replaces == "run" for p in before.values())
    waits_for = [name for name in step.needs if before[name].action != "done"]
    if known is None:
        stranger = overwrite and step.stage.replaces == "run" and _holds_run(run_dir)
        why = "the run there is of no pipeline" if stranger else ""
        return Planned(step, "replace" if stranger else "new", why, digests, None)
    reasons = reasons_of(step, digests, known, run_dir)
    reasons += [f"after {name}" for name in waits_for if not any(name in r for r in reasons)]
    if not reasons:
        return Planned(step, "done", "", digests, known)
    other = known.base != digests.base and not run_is_replaced and _has_results(step, run_dir)
    replaces = other or (overwrite and _replaced_nothing_yet(known, step, run_dir))
    return Planned(step, "replace" if replaces else "again", "; ".join(reasons), digests, known)


def _replaced_nothing_yet(known: StepRecord, step: Step, run_dir: Path) -> bool:
    """Whether a step was stopped when the results before it were still there."""
    name = MAIN_RECORDS.get(step.stage.replaces, "")
    path = run_dir / name
    return known.status == "started" and name in known.results and path.is_file() and (
        sha256_file(path) == known.results[name])  # fmt: skip


def _holds_run(run_dir: Path) -> bool:
    return (run_dir / MANIFEST).exists() or (run_dir / JOURNAL).exists()


def _has_results(step: Step, run_dir: Path) -> bool:
    """Whether there is something that other settings cannot continue."""
    if step.stage.replaces == "run":
        return _holds_run(run_dir)
    if step.stage.replaces in ("records", "skills"):
        return (run_dir / step.stage.folder).is_dir()
    if step.stage.replaces == "scores":
        return bool(scores_of(step.settings, run_dir))
    return step.stage.replaces == "set" and read_settings(run_dir, explanation_set(step.settings)) is not None


def reasons_of(step: Step, digests: Digests, known: StepRecord, run_dir: Path) -> list[str]:
    """Why the step is not done; empty if it is."""
    if known.digest == digests.full:
        return ["was stopped"] if known.status == "started" else changed_results(known, run_dir)
    reasons = changed_settings(known.settings, step.in_results, but=step.paths.keys() & known.inputs.keys())
    for name, digest in digests.inputs.items():
        if name in known.inputs and known.inputs[name] != digest:
            reasons.append(f"{step.paths.get(name, name)} has changed")
        elif name not in known.inputs and name not in step.paths:
            reasons.append(f"{name} is new")
    reasons += [f"{name} is gone" for name in known.inputs.keys() - digests.inputs.keys() - step.paths.keys()]
    before, now = set(known.after.values()), dict(digests.after)
    reasons += [f"depends on {name}" for name, digest in now.items() if digest not in before]
    if known.version != digests.version:
        reasons.append(f"neuron-signatures {known.version} -> {digests.version}")
    gone = [name for name, digest in known.after.items() if digest not in now.values()]
    return reasons or [f"it depended on {join_some(gone, 3) or 'other steps'}, which this configuration leaves out"]


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], *, but: Collection[str] = ()) -> list[str]:
    """One text for each key that differs."""
    both = [k for k in now if k in before and k not in but]
    found = [f"{k} {_shown(before[k])} -> {_shown(now[k])}" for k in both if before[k] != now[k]]
    found += [f"{k} = {_shown(v)} is new" for k, v in now.items() if k not in before]
    return found + [f"{k} = {_shown(v)} is gone" for k, v in before.items() if k not in now]


def _shown(value: Any) -> str:
    return shorten(repr(value), 48)
