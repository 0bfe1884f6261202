"""The manifest of a run: what was run on what, in formats 1 (read) and 2 (read and written)."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.names import MANIFEST, check_ids

FORMAT_VERSION = 2
DTYPE_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
HOOK_NAME = "blocks.{layer}.mlp.hook_post"
PROMPTS_MARK = '\n  "prompts": ['
MAX_BYTES = 4 << 30  # about a million prompts of 128 tokens
MAX_LAYERS = 1 << 16

# How dtypes were spelled by earlier writers.
_DTYPE_ALIASES = {
    "bfloat16": "bf16", "torch.bfloat16": "bf16",
    "float16": "fp16", "torch.float16": "fp16",
    "float32": "fp32", "torch.float32": "fp32",
}  # fmt: skip

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


class ManifestV1(BaseModel):
    """Format 1, as earlier runs of this method have it on disk."""

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


UNRECORDED = "not recorded"


def read_manifest(run_dir: Path) -> tuple[Manifest, int]:
    """The manifest of a run and the format version on disk; format 1 is lifted to format 2 in memory.

    Raises `BadRunError` naming the file and the field for a missing, unreadable, inconsistent or unknown one.
    """
    path = run_dir / MANIFEST
    raw = _load_json(path)
    version = raw.get("format_version")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        what = f"format_version is {str(version)[:40]}, this reader knows 1 and {FORMAT_VERSION}"
        raise BadRunError(what, where=str(path), next_step="Use the version that wrote it, or a newer one")
    try:
        manifest = _lift(ManifestV1.model_validate(raw), path) if version == 1 else Manifest.model_validate(raw)
    except ValidationError as e:
        raise BadRunError(_first_error(e), where=str(path)) from e
    _check_consistent(manifest, path, ids_follow_rule=version != 1)
    return manifest, int(version)


def write_manifest(run_dir: Path, manifest: Manifest) -> None:
    """Write the manifest whole; with it the run is complete."""
    text = manifest_text(manifest)
    path = run_dir / MANIFEST
    with whole_file(path, needed=len(text)) as tmp:
        tmp.write_text(text, encoding="utf-8", newline="\n")


def manifest_text(manifest: Manifest) -> str:
    """Strict JSON, one field per line and `prompts` last; lists of tokens stay on one line."""
    fields = manifest.model_dump()
    prompts = fields.pop("prompts")
    head = ",\n".join(f'  "{k}": {_json(v)}' for k, v in fields.items())
    body = ",\n".join(_prompt_text(p) for p in prompts)
    return f"{{\n{head},{PROMPTS_MARK}\n{body}\n  ]\n}}\n"


def read_summary(run_dir: Path, *, head_bytes: int = 1 << 18) -> dict[str, Any]:
    """The manifest's fields without `prompts`, reading only the head of the file where that is enough.

    For listings: nothing is validated. Raises `BadRunError` if the file is missing or not JSON.
    """
    path = run_dir / MANIFEST
    with contextlib.suppress(OSError, ValueError):
        with path.open("rb") as f:
            head = f.read(head_bytes).decode("utf-8", "ignore")
        fields = json.loads(head[: head.index(PROMPTS_MARK)] + ' "prompts": []}') if PROMPTS_MARK in head else None
        if isinstance(fields, dict) and fields.get("format_version") == FORMAT_VERSION:
            return fields
    raw = _load_json(path)
    prompts = raw.pop("prompts", None)
    return {"n_prompts": len(prompts) if isinstance(prompts, list) else None, **raw}


# One encoder for all: `json.dumps` builds a new one for these settings at every call.
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _prompt_text(prompt: dict[str, Any]) -> str:
    return "    {\n" + ",\n".join([f'      "{k}": {_json(v)}' for k, v in prompt.items()]) + "\n    }"


def _load_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadRunError(f"larger than {MAX_BYTES} bytes", where=str(path))
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as e:
        next_step = "If a dump was stopped here, finish it with --resume"
        raise BadRunError("there is no manifest", where=str(path), next_step=next_step) from e
    except OSError as e:
        raise BadRunError(f"cannot read ({e.strerror})", where=str(path)) from e
    except RecursionError as e:
        raise BadRunError("nested too deeply", where=str(path)) from e
    except ValueError as e:  # not UTF-8, not JSON, NaN, a number of 5,000 digits
        raise BadRunError(f"not valid JSON ({e})", where=str(path)) from e
    if not isinstance(raw, dict):
        raise BadRunError("not a JSON object", where=str(path))
    return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _first_error(e: ValidationError) -> str:
    errors = e.errors(include_url=False, include_context=False, include_input=False)
    field = ".".join(str(p) for p in errors[0]["loc"]) or "(top level)"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"field {field[:200]}: {errors[0]['msg']}{more}"


def _lift(old: ManifestV1, path: Path) -> Manifest:
    prompts = [
        PromptRecord(
            probe_id=p.probe_id,
            text=p.text,
            token_ids=p.token_ids,
            tokens=p.tokens_ascii,
            tokens_ascii=p.tokens_ascii,
            seq_len=p.seq_len,
            activation_tensor_key=p.activation_tensor_key,
            activation_tensor_shape=p.activation_tensor_shape,
            activation_tensor_dtype=_dtype(p.activation_tensor_dtype, path),
            file=old.activations_file,
            nonfinite=0,
            truncated_from=None,
            metadata={},
        )
        for p in old.prompts
    ]
    return Manifest(
        format_version=2,
        created_at_utc=old.created_at_utc,
        stage="poc1_dump_activations",
        n_prompts=len(prompts),
        n_tokens=sum(p.seq_len for p in prompts),
        n_layers=old.n_layers,
        layers=list(range(old.n_layers)),
        d_mlp=old.d_mlp,
        hook_name=old.hook_name,
        model_name=old.model_name,
        model_revision=None,
        weights_fingerprint=None,
        architecture=UNRECORDED,
        tokenizer_sha256=None,
        attn_implementation=UNRECORDED,
        quantization=UNRECORDED,
        trust_remote_code=False,
        run_device=old.run_device,
        device_name=UNRECORDED,
        model_dtype=_dtype(old.model_dtype, path),
        save_dtype=_dtype(old.save_dtype, path),
        prepend_bos=old.prepend_bos,
        bos_token_id=None,
        bos_policy=UNRECORDED,
        seed=0,
        activations_file=old.activations_file,
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


def _check_consistent(m: Manifest, path: Path, *, ids_follow_rule: bool) -> None:
    """Raise `BadRunError` with the list of ways in which the manifest contradicts itself.

    Format 1 had no rule for ids, and used them only as keys: there they need only differ.
    """
    if not ids_follow_rule and len({p.probe_id for p in m.prompts}) != len(m.prompts):
        raise BadRunError("a prompt id is used twice", where=str(path))
    try:
        if ids_follow_rule:
            check_ids((p.probe_id for p in m.prompts), where=str(path))
    except UsageError as e:
        raise BadRunError(e.what, where=str(path)) from e
    wrong = [f"{p.probe_id}: {why}" for p in m.prompts for why in _contradictions(m, p)]
    if m.n_prompts != len(m.prompts):
        wrong.append(f"n_prompts is {m.n_prompts}, there are {len(m.prompts)} prompts")
    if m.layers != sorted(set(m.layers)) or not m.layers or m.layers[-1] >= m.n_layers:
        wrong.append(f"layers {m.layers[:8]} are not distinct layers of {m.n_layers}, in order")
    if wrong:
        raise BadRunError(join_some(wrong), where=str(path))


def _contradictions(m: Manifest, p: PromptRecord) -> list[str]:
    wrong = []
    shape = [len(m.layers), p.seq_len, m.d_mlp]
    if p.activation_tensor_shape != shape:
        wrong.append(f"shape {p.activation_tensor_shape} should be {shape}")
    for name in ("token_ids", "tokens", "tokens_ascii"):
        if len(getattr(p, name)) != p.seq_len:
            wrong.append(f"{len(getattr(p, name))} {name} for seq_len {p.seq_len}")
    if m.files and p.file not in {f.name for f in m.files}:
        wrong.append(f"file {p.file!r} is not listed in files")
    return wrong


def join_some(differences: list[str], n: int = 5) -> str:
    """The first `n` differences in one line, and how many more there are."""
    more = f"; and {len(differences) - n} more" if len(differences) > n else ""
    return "; ".join(differences[:n]) + more
