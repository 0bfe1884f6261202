"""Converting runs of format 1 or of pickled tensors to format 2 in safetensors. The original stays unchanged."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.journal import PromptOutcome, ShardRecord
from neuron_signatures.runs.manifest import DTYPE_BYTES, FORMAT_VERSION, Manifest, PromptRecord
from neuron_signatures.runs.names import TMP_PREFIX, activation_file, safe_id
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.shards import plan_shards
from neuron_signatures.runs.writer import RunWriter, open_writer

if TYPE_CHECKING:
    from torch import Tensor


def migrate_run(source: Path, target: Path, *, shard_bytes: int) -> None:
    """Write `source` as a format-2 run of safetensors to `target`, a new folder; on failure nothing is left there.

    Values are copied bit for bit, and non-finite values are counted. Memory holds the tensors of one shard. What
    format 1 does not record (revision, tokenizer, raw tokens) stays unrecorded. An id that cannot be part of a file
    name is replaced, and kept in the metadata as `original_id`. Raises `UsageError` if there is nothing to convert, or
    if `target` exists (also as a link), is inside `source` or cannot be the name of a folder.
    """
    _check_target(source, target)
    with Run.open(source, check="sha256") as run:
        if run.format_version == FORMAT_VERSION and all(n.endswith(".safetensors") for n in run.file_names()):
            raise UsageError(
                "is format 2 in safetensors already", where=str(source), next_step="There is nothing to do"
            )
        with explain_os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{TMP_PREFIX}-migrate-{secrets.token_hex(6)}")
        try:
            with open_writer(unfinished, "new", settings={"migrated_from": source.name}, facts={}) as writer:
                _copy(run, writer, shard_bytes)
            unfinished.rename(target)
        finally:
            if unfinished.exists():
                shutil.rmtree(unfinished)


def _check_target(source: Path, target: Path) -> None:
    """Raise `UsageError` before anything is read or written."""
    what, real = "", Path(os.path.realpath(target))
    try:
        target.lstat()
        what = "exists already"
    except FileNotFoundError:
        if real.exists():  # `missing/..`
            what = "exists already"
        elif real.is_relative_to(os.path.realpath(source)):
            what = "is inside the run that is converted"
    except OSError as e:
        what = f"cannot be written ({e.strerror or e})"
    if what:
        raise UsageError(what, where=str(target), next_step="Choose another --out_dir")


def _copy(run: Run, writer: RunWriter, shard_bytes: int) -> None:
    sizes = [p.n_values() * DTYPE_BYTES[p.activation_tensor_dtype] for p in run.prompts]
    shards = plan_shards(sizes, shard_bytes)
    names = [activation_file(n, len(shards), "safetensors") for n in range(len(shards))]
    prompts = [_renamed(p) for p in run.prompts]
    for n, members in enumerate(shards):
        tensors = {prompts[i].activation_tensor_key: run.tensor(i) for i in members}
        outcomes = [
            PromptOutcome(
                prompt_id=prompts[i].probe_id, nonfinite=_nonfinite(tensors[prompts[i].activation_tensor_key])
            )
            for i in members
        ]
        writer.write_shard(n, names[n], tensors, outcomes, 0.0)
    writer.finish(_manifest(run.manifest, prompts, shards, names, [writer.done[n] for n in range(len(shards))]))


def _nonfinite(acts: Tensor) -> int:
    """The number of NaN and infinite values, counted layer by layer."""
    return sum(int((~layer.isfinite()).sum()) for layer in acts)


def _renamed(p: PromptRecord) -> PromptRecord:
    new = safe_id(p.probe_id)
    metadata = p.metadata if new == p.probe_id else {**p.metadata, "original_id": p.probe_id}
    return p.model_copy(update={"probe_id": new, "activation_tensor_key": new, "metadata": metadata})


def _manifest(
    old: Manifest, prompts: list[PromptRecord], shards: list[list[int]], names: list[str], records: list[ShardRecord]
) -> Manifest:
    files = [r.file for r in records if r.file]
    nonfinite = [o.nonfinite for r in records for o in r.outcomes]
    placed = [
        prompts[i].model_copy(update={"file": name, "nonfinite": nonfinite[i]})
        for name, members in zip(names, shards, strict=True)
        for i in members
    ]
    single = names[0] if len(names) == 1 else None
    return old.model_copy(update={"files": files, "prompts": placed, "activations_file": single})
