"""Checkpoints of a model, dumped with the same prompts before they are compared. Finished dumps are used again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from neuron_signatures.demo import checkpoint_dirs
from neuron_signatures.drift.labels import file_name, labels_of
from neuron_signatures.dump.config import DumpConfig
from neuron_signatures.dump.dump import DumpSummary, MakeProgress, dump
from neuron_signatures.dump.estimate import DryRun, dry_run
from neuron_signatures.dump.plan import DumpPlan, plan_dump
from neuron_signatures.dump.prompts import Prompt
from neuron_signatures.models.spec import DEMO_MODEL, BosRequest, Dtype, ModelSpec
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run

DEMO: Final = "demo"
_FINAL: Final = "final"
_SHARD_BYTES: Final = 512_000_000


class Checkpoint(NamedTuple):
    """A model to dump, and its label."""

    label: str
    spec: ModelSpec


@dataclass(frozen=True)
class DumpRequest:
    """What all dumps have in common."""

    prompts: list[Prompt]
    prompts_json: Path | None
    """Where the prompts are from; None for those of a run."""
    out_dir: Path
    """Every dump is a folder in it."""
    model_dtype: Dtype
    save_dtype: Dtype
    bos: BosRequest
    layers: str | None
    batch_size: int | None
    quiet: bool
    flags_given: tuple[str, ...]


def like_run(
    run: Run, out_dir: Path, *, batch_size: int | None, quiet: bool, flags_given: tuple[str, ...]
) -> DumpRequest:
    """Dumps with the prompts, the layers, the BOS and the dtypes of a run."""
    m = run.manifest
    if not run.prompts:
        what = "has no prompts with which checkpoints could be dumped"
        raise UsageError(what, where=str(run.path), next_step="Give --prompts_json and --out_dir instead of --run_dir")
    prompts = [_prompt(p) for p in run.prompts]
    layers = ",".join(map(str, m.layers))
    bos = "prepend" if m.prepend_bos else "off" if m.tokenizer_adds_bos is None else "tokenizer"
    bos = m.flags_resolved.get("bos", bos)
    return DumpRequest(
        prompts, None, out_dir, m.model_dtype, m.save_dtype, bos, layers, batch_size, quiet, flags_given
    )  # fmt: skip


def _prompt(record: PromptRecord) -> Prompt:
    metadata = dict(record.metadata)
    messages = metadata.pop("messages", None)
    return Prompt(record.probe_id, record.text if messages is None else None, messages, metadata)


def demo_checkpoints(spec: ModelSpec, *, final: bool = True) -> list[Checkpoint]:
    """The shipped checkpoints of the demo model, and with `final` the final model last."""
    found = [Checkpoint(folder.name, replace(spec, name=str(folder))) for folder in checkpoint_dirs().values()]
    return [*found, Checkpoint(_FINAL, replace(spec, name=DEMO_MODEL))] if final else found


def folders(paths: Sequence[str], spec: ModelSpec) -> list[Checkpoint]:
    """Models in folders, labelled by the folders' names."""
    labels = labels_of([Path(path).name or path for path in paths])
    return [Checkpoint(label, replace(spec, name=path)) for label, path in zip(labels, paths, strict=True)]


def revisions(names: Sequence[str], spec: ModelSpec) -> list[Checkpoint]:
    """Revisions of one model on the Hub."""
    return [
        Checkpoint(label, replace(spec, revision=name)) for label, name in zip(labels_of(names), names, strict=True)
    ]


def plan_dumps(checkpoints: Sequence[Checkpoint], request: DumpRequest) -> list[DumpPlan]:
    """One plan per checkpoint; loads configs and tokenizers only. Raises the project's errors."""
    return [plan_dump(_config(checkpoint, request), request.prompts) for checkpoint in checkpoints]


def run_dir(checkpoint: Checkpoint, request: DumpRequest) -> Path:
    return request.out_dir / file_name(checkpoint.label)


def is_dumped(plan: DumpPlan) -> bool:
    """Whether the folder of the plan holds a complete run; `dump_all` checks that it is the planned one."""
    return Run.is_complete(plan.config.out_dir)


def dump_all(plans: Sequence[DumpPlan], progress: MakeProgress) -> list[DumpSummary]:
    """Dump what is not there yet. Raises `UsageError` for a dump with other settings, with the differences."""
    found = []
    for plan in plans:
        try:
            summary = dump(plan, progress)
        except UsageError as e:
            next_step = "Give the flags of the earlier dump, or another --out_dir"
            raise UsageError(e.what, where=e.where, next_step=next_step) from e
        if summary.failed:
            raise UsageError(f"{summary.failed} prompts failed", where=summary.run, next_step="Leave them out")
        found.append(summary)
    return found


def forecasts(plans: Sequence[DumpPlan]) -> list[DryRun]:
    return [dry_run(plan) for plan in plans]


def _config(checkpoint: Checkpoint, request: DumpRequest) -> DumpConfig:
    return DumpConfig(
        model=checkpoint.spec, backend="transformers", prompts_json=request.prompts_json, single_prompt=None,
        out_dir=run_dir(checkpoint, request), save_dtype=request.save_dtype, save_format="safetensors",
        shard_bytes=_SHARD_BYTES, bos=request.bos, batch_size=request.batch_size, layers=request.layers,
        limit=None, truncate=None, seed=0, check_finite=False, resume=True, overwrite=False,
        quiet=request.quiet, flags_given=request.flags_given,
    )  # fmt: skip
