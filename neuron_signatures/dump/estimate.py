"""`--dry_run`: what a dump would need."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_signatures.dump.plan import DumpPlan
from neuron_signatures.dump.record import check_manifest_size
from neuron_signatures.models.info import weights_bytes
from neuron_signatures.runs.files import free_bytes, human_bytes
from neuron_signatures.runs.manifest import QUANTIZATION_REASON


@dataclass(frozen=True)
class DryRun:
    """Tokens per prompt, and bytes. `host_buffer_bytes` is the memory of the shards until they are written."""

    prompts: int
    tokens: int
    tokens_min: int
    tokens_mean: float
    tokens_max: int
    truncated: int
    layers: int
    d_mlp: int
    shards: int
    disk_bytes: int
    free_bytes: int
    fits: bool
    weights_bytes: int
    quantization: str
    """As the manifest would record it."""
    quantization_reason: str | None
    """Why it would be chosen; None if the flags name it, or the model is not quantised by the dump."""
    host_buffer_bytes: int
    longest_prompt_bytes: int
    """Working memory of the longest prompt alone, without attention scores."""


def dry_run(plan: DumpPlan) -> DryRun:
    """Sizes of a planned dump. Loads no weights and writes nothing. Raises `UsageError` for too many prompts."""
    check_manifest_size(plan)
    config, info, lengths = plan.config, plan.info, [p.seq_len for p in plan.prompts]
    free = free_bytes(config.out_dir)
    shard_sizes = sorted((sum(plan.bytes_of(i) for i in members) for members in plan.shards), reverse=True)
    return DryRun(
        prompts=len(lengths),
        tokens=sum(lengths),
        tokens_min=min(lengths),
        tokens_mean=round(sum(lengths) / len(lengths), 2),
        tokens_max=max(lengths),
        truncated=sum(p.truncated_from is not None for p in plan.prompts),
        layers=len(plan.layers),
        d_mlp=info.d_mlp,
        shards=len(plan.shards),
        disk_bytes=plan.n_bytes,
        free_bytes=free,
        fits=plan.n_bytes <= free,
        weights_bytes=weights_bytes(info, config.model.dtype, config.model.quantization),
        quantization=plan.identity.quantization,
        quantization_reason=plan.settings.get(QUANTIZATION_REASON),
        host_buffer_bytes=sum(shard_sizes[:2]),
        longest_prompt_bytes=plan.longest_prompt_bytes,
    )


def describe(found: DryRun) -> list[str]:
    """The same as text."""
    verdict = "enough" if found.fits else "NOT ENOUGH"
    return [
        f"prompts  {found.prompts}, {found.tokens} tokens "
        f"(min {found.tokens_min}, mean {found.tokens_mean}, max {found.tokens_max}), {found.truncated} truncated",
        f"neurons  {found.layers} layers x {found.d_mlp}",
        f"disk     {human_bytes(found.disk_bytes)} in {found.shards} {'file' if found.shards == 1 else 'files'}, "
        f"{human_bytes(found.free_bytes)} free: {verdict}",
        f"memory   {human_bytes(found.weights_bytes)} weights{_in(found)}, "
        f"{human_bytes(found.host_buffer_bytes)} for shards in RAM, "
        f"{human_bytes(found.longest_prompt_bytes)} for the longest prompt",
        "nothing was written",
    ]


def _in(found: DryRun) -> str:
    if found.quantization not in ("8bit", "4bit"):
        return ""
    return f" in {found.quantization}{' (chosen to fit)' if found.quantization_reason else ''}"
