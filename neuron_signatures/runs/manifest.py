"""The records of a manifest, format 2. Format 1 is converted to these records when it is read."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.skills.banks import Site

FORMAT_VERSION = 2
DTYPE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
HOOK_NAME = "blocks.{layer}.mlp.hook_post"
MAX_LAYERS = 1 << 16

Dtype = Literal["bf16", "fp16", "fp32"]
# What computes the activations: a plain transformers model, or TransformerLens' TransformerBridge.
Backend = Literal["transformers", "transformer_lens"]
EARLIER_BACKEND: Backend = "transformers"
Count = Annotated[int, Field(ge=0, le=1 << 62)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileRecord(_Record):
    """A file of the run, with its size in bytes and its checksum."""

    name: str
    bytes: Count
    sha256: Sha256


class PromptRecord(_Record):
    """A prompt and the location of its activations. `tokens` are the raw strings; `tokens_ascii` is for display."""

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
    """Number of tokens before truncation; None if the prompt was not truncated."""
    metadata: dict[str, Any]
    """All keys of the input except id and text, including chat messages."""

    def n_values(self) -> int:
        return math.prod(self.activation_tensor_shape)


class FailedPrompt(_Record):
    """A prompt without activations, and the reason. (Not `probe_id`: `grep -c` of that key counts prompts.)"""

    prompt_id: str
    reason: str


class UnitsRecord(_Record):
    """The units of a run that are not neurons: the directions of one source at one site.

    The fields and files that name neurons mean these: `d_mlp` is their number per layer, and `L3N5` is direction 5 of
    layer 3.
    """

    kind: Literal["directions"]
    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    site: Site
    made_by: Annotated[str, Field(max_length=32)]
    file: str
    """The run's copy of the directions, also listed in `files`."""
    from_sha256: Sha256
    """Of the directions file that the command named."""


class Manifest(_Record):
    """The model, the settings and the prompts of a run. Listings read only the fields before `prompts`."""

    format_version: Literal[2]
    created_at_utc: str
    stage: str
    n_prompts: Count
    n_tokens: Count
    n_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    """Layers of the model; `layers` lists the stored ones, in the order of the first axis of the tensors."""
    layers: list[Count]
    d_mlp: Annotated[int, Field(ge=1)]
    hook_name: str
    units: UnitsRecord | None = None
    """None if the units are neurons; then the field is not written."""
    backend: Backend | None = EARLIER_BACKEND
    """Earlier runs of format 2 do not record it; None in format 1, where it is unknown."""
    model_name: str
    model_revision: str | None
    """The commit on the Hub, or the requested revision; None for a local folder."""
    weights_fingerprint: str | None
    """Checksum of the weights of a local folder; None if the revision identifies them."""
    architecture: str
    tokenizer_sha256: Sha256 | None
    attn_implementation: str
    quantization: str
    trust_remote_code: bool
    run_device: str
    device_name: str
    cpu_threads: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    """Threads of a matrix product on the CPU; None in earlier runs, which do not record it."""
    model_dtype: Dtype
    save_dtype: Dtype
    prepend_bos: bool
    bos_token_id: int | None
    bos_policy: str
    tokenizer_adds_bos: bool | None = None
    """Whether the tokenizer itself prepends its BOS token; None in earlier runs, which do not record it."""
    seed: int | None
    activations_file: str | None
    """The name of the file if there is only one, as in format 1; None if the run is sharded."""
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
QUANTIZATION_REASON = "quantization_reason"
"""Key of `flags_resolved` that says why a quantisation was chosen; absent if the flags named it, or there is none."""


def bos_text(m: Manifest) -> str:
    """Whether a BOS token was prepended, and its id. Format 1 records only `prepend_bos`."""
    policy = m.bos_policy
    if policy == UNRECORDED:
        policy = "prepended" if m.prepend_bos else "off"
    return f"{policy}, id {UNRECORDED if m.bos_token_id is None else m.bos_token_id}"


def attention_text(m: Manifest) -> str:
    """The attention implementation, and the backend if it is known."""
    unknown = m.attn_implementation == UNRECORDED
    attention = f"attention {UNRECORDED}" if unknown else f"{m.attn_implementation} attention"
    return attention + (f", backend {m.backend}" if m.backend else "")


def weights_text(m: Manifest) -> str:
    """What identifies the weights: their fingerprint or the model's revision; `not recorded` for neither."""
    return m.weights_fingerprint or (
        f"identified by the revision {m.model_revision}" if m.model_revision else UNRECORDED
    )


def took_text(m: Manifest) -> str:
    """The time to compute the activations. Format 1 does not record it, and a run converted from it has 0."""
    seconds = m.wall_seconds
    return UNRECORDED if not seconds else f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"


def join_some(differences: list[str], n: int = 5) -> str:
    """The first `n` differences on one line, and the number of further ones."""
    more = f"; and {len(differences) - n} more" if len(differences) > n else ""
    return "; ".join(differences[:n]) + more
