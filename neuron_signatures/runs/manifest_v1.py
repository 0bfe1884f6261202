"""Manifests of format 1, which earlier runs have, and their conversion to format 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import DTYPE_BYTES, MAX_LAYERS, UNRECORDED, Count, Dtype, Manifest, PromptRecord

# Names of dtypes in earlier runs.
_DTYPE_ALIASES = {
    "bfloat16": "bf16", "torch.bfloat16": "bf16",
    "float16": "fp16", "torch.float16": "fp16",
    "float32": "fp32", "torch.float32": "fp32",
}  # fmt: skip


class ManifestV1(BaseModel):
    """A manifest of format 1."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    format_version: Literal[1]
    created_at_utc: str
    model_name: str
    hook_name: str
    n_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    d_mlp: Annotated[int, Field(ge=1)]
    run_device: str
    model_dtype: str
    save_dtype: str
    prepend_bos: bool
    prompts: list[PromptV1]
    activations_file: str


class PromptV1(BaseModel):
    """One prompt of a format-1 manifest."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    probe_id: str
    text: str
    token_ids: list[Count]
    tokens_ascii: list[str]
    seq_len: Annotated[int, Field(ge=1)]
    activation_tensor_key: str
    activation_tensor_shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    activation_tensor_dtype: str


def upgrade(old: ManifestV1, path: Path) -> Manifest:
    """The format-2 manifest of the same run. Fields that format 1 does not record are None or `not recorded`.

    `path` is for the error message. Raises `BadRunError` for an unknown dtype.
    """
    # Fields have the same names in both formats.
    prompts = [
        PromptRecord(
            **p.model_dump(exclude={"activation_tensor_dtype"}),
            tokens=p.tokens_ascii,
            activation_tensor_dtype=_dtype(p.activation_tensor_dtype, path),
            file=old.activations_file,
            nonfinite=0,
            truncated_from=None,
            metadata={},
        )
        for p in old.prompts
    ]
    return Manifest(
        **old.model_dump(exclude={"format_version", "model_dtype", "save_dtype", "prompts"}),
        format_version=2,
        stage="poc1_dump_activations",
        n_prompts=len(prompts),
        n_tokens=sum(p.seq_len for p in prompts),
        layers=list(range(old.n_layers)),
        backend=None,
        model_revision=None,
        weights_fingerprint=None,
        architecture=UNRECORDED,
        tokenizer_sha256=None,
        attn_implementation=UNRECORDED,
        quantization=UNRECORDED,
        trust_remote_code=False,
        device_name=UNRECORDED,
        model_dtype=_dtype(old.model_dtype, path),
        save_dtype=_dtype(old.save_dtype, path),
        bos_token_id=None,
        bos_policy=UNRECORDED,
        seed=None,
        files=[],
        versions={},
        git_revision=None,
        flags_given=[],
        flags_resolved={},
        wall_seconds=0.0,
        host=UNRECORDED,
        failed_prompts=[],
        prompts=prompts,
    )


def _dtype(name: str, path: Path) -> Dtype:
    name = _DTYPE_ALIASES.get(name, name)
    if name not in DTYPE_BYTES:
        raise BadRunError(f"unknown dtype {name!r}", where=str(path))
    return name  # type: ignore[return-value]
