"""What a manifest holds: the records of format 2, in whose terms format 1 is read too."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 2
DTYPE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
HOOK_NAME = "blocks.{layer}.mlp.hook_post"
MAX_LAYERS = 1 << 16

Dtype = Literal["bf16", "fp16", "fp32"]
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileRecord(_Record):
    """A tensor file of the run: its size in bytes and its checksum."""

    name: str
    bytes: Count
    sha256: Sha256


class PromptRecord(_Record):
    """One prompt and where its activations are. `tokens` are the raw strings; `tokens_ascii` is for display."""

    probe_id: str
    text: str
    token_ids: list[Count]
    tokens: list[str]
    tokens_ascii: list[str]
    seq_len: Annotated[int, Field(ge=1)]
    activation_tensor_key: str
    activation_tensor_shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    activation_tensor_dtype: Dtype
    file: str
    nonfinite: Count
    truncated_from: int | None
    """Number of tokens before `--truncate`; None if nothing was cut."""
    metadata: dict[str, Any]
    """The keys of the input other than id and text; chat messages are here too."""

    def n_values(self) -> int:
        return math.prod(self.activation_tensor_shape)


class FailedPrompt(_Record):
    """A prompt that has no activations in the run, and why. (Not `probe_id`: that key counts the prompts.)"""

    prompt_id: str
    reason: str


class Manifest(_Record):
    """What was run on what. The fields before `prompts` are enough to list a run (see `read_summary`)."""

    format_version: Literal[2]
    created_at_utc: str
    stage: str
    n_prompts: Count
    n_tokens: Count
    n_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    """Layers of the model; `layers` says which of them are stored, in the order of the tensors' first axis."""
    layers: list[Count]
    d_mlp: Annotated[int, Field(ge=1)]
    hook_name: str
    model_name: str
    model_revision: str | None
    """The commit on the Hub, or what was asked for; None for a local folder."""
    weights_fingerprint: str | None
    """Checksum of a local folder's weights; None where the revision identifies them."""
    architecture: str
    tokenizer_sha256: Sha256 | None
    attn_implementation: str
    quantization: str
    trust_remote_code: bool
    run_device: str
    device_name: str
    model_dtype: Dtype
    save_dtype: Dtype
    prepend_bos: bool
    bos_token_id: int | None
    bos_policy: str
    tokenizer_adds_bos: bool | None = None
    """Whether the tokenizer by itself puts its BOS in front; None where it is not recorded (earlier runs)."""
    seed: int
    activations_file: str | None
    """The file's name if there is just one, as in format 1; None when the run is sharded."""
    files: list[FileRecord]
    versions: dict[str, str]
    git_revision: str | None
    flags_given: list[str]
    flags_resolved: dict[str, Any]
    wall_seconds: float
    host: str
    failed_prompts: list[FailedPrompt]
    prompts: list[PromptRecord]


UNRECORDED = "not recorded"


def join_some(differences: list[str], n: int = 5) -> str:
    """The first `n` differences in one line, and how many more there are."""
    more = f"; and {len(differences) - n} more" if len(differences) > n else ""
    return "; ".join(differences[:n]) + more
