"""Format 1 to format 2, beside the original, which stays as it is."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import DTYPE_BYTES, FORMAT_VERSION, Manifest
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.shards import plan_shards
from neuron_signatures.runs.writer import PromptOutcome, ShardRecord, open_writer


def migrate_run(source: Path, target: Path, *, shard_bytes: int) -> None:
    """Write `source` (format 1) as a format-2 run in `target`, a new folder.

    Values are copied bit for bit; non-finite ones are counted on the way. What format 1 does not record
    (revision, tokenizer, raw tokens) stays unrecorded. Raises `UsageError` if `source` is format 2 already.
    """
    with Run.open(source) as run:
        if run.format_version == FORMAT_VERSION:
            raise UsageError("is format 2 already", where=str(source), next_step="There is nothing to do")
        sizes = [p.n_values() * DTYPE_BYTES[p.activation_tensor_dtype] for p in run.prompts]
        shards = plan_shards(sizes, shard_bytes)
        names = [activation_file(n, len(shards), "safetensors") for n in range(len(shards))]
        with open_writer(target, "new", settings={"migrated_from": source.name}, facts={}) as writer:
            for n, members in enumerate(shards):
                tensors = {run.prompts[i].activation_tensor_key: run.tensor(i).contiguous() for i in members}
                outcomes = [
                    PromptOutcome(prompt_id=run.prompts[i].probe_id, nonfinite=run.count_nonfinite(i)) for i in members
                ]
                writer.write_shard(n, names[n], tensors, outcomes, 0.0)
            records = [writer.done[n] for n in range(len(shards))]
            writer.finish(_manifest(run.manifest, shards, names, records))


def _manifest(old: Manifest, shards: list[list[int]], names: list[str], records: list[ShardRecord]) -> Manifest:
    files = [r.file for r in records if r.file]
    nonfinite = [o.nonfinite for r in records for o in r.outcomes]
    prompts = [
        old.prompts[i].model_copy(update={"file": name, "nonfinite": nonfinite[i]})
        for name, members in zip(names, shards, strict=True)
        for i in members
    ]
    single = names[0] if len(names) == 1 else None
    return old.model_copy(update={"files": files, "prompts": prompts, "activations_file": single})
