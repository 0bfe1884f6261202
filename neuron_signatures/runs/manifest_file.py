"""Reading `manifest.json` with full validation, and writing it atomically."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neuron_signatures.runs.bounded_json import parse_json, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import write_text
from neuron_signatures.runs.manifest import FORMAT_VERSION, Manifest, PromptRecord, join_some
from neuron_signatures.runs.manifest_v1 import ManifestV1, upgrade
from neuron_signatures.runs.names import MANIFEST, check_ids, inside
from neuron_signatures.runs.opening import open_regular

PROMPTS_MARK = '\n  "prompts": ['
MAX_BYTES = 256 << 20
"""Limit for a manifest; `bounded_json.MAX_MEMORY` is another, of about four million tokens."""
# A listing reads many manifests, and needs the whole file only of format 1.
_LISTED_BYTES = 32 << 20


def read_manifest(run_dir: Path) -> tuple[Manifest, int]:
    """The manifest of a run and the format version on disk; format 1 is converted to format 2 in memory.

    Raises `BadRunError`, which names the file and the field, if the manifest is missing, unreadable, inconsistent or of
    an unknown version.
    """
    path = inside(run_dir, MANIFEST)
    raw = _load_json(path, max_bytes=MAX_BYTES)
    version = raw.get("format_version")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        raise unknown_version(version, where=str(path))
    try:
        manifest = upgrade(ManifestV1.model_validate(raw), path) if version == 1 else Manifest.model_validate(raw)
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path)) from e
    _check_consistent(manifest, path, ids_follow_rule=version != 1)
    return manifest, int(version)


def write_manifest(run_dir: Path, manifest: Manifest) -> None:
    """Write the manifest atomically, which makes the run complete."""
    write_text(run_dir, MANIFEST, manifest_text(manifest))


def manifest_text(manifest: Manifest) -> str:
    """Strict JSON, one field per line and `prompts` last; each list of tokens is on one line."""
    fields = manifest.model_dump()
    if manifest.units is None:
        del fields["units"]  # so that earlier readers can read runs of neurons
    prompts = fields.pop("prompts")
    head = ",\n".join(f'  "{k}": {_json(v)}' for k, v in fields.items())
    body = ",\n".join(_prompt_text(p) for p in prompts)
    return f"{{\n{head},{PROMPTS_MARK}\n{body}\n  ]\n}}\n"


def read_summary(run_dir: Path) -> dict[str, Any]:
    """The fields of the manifest without `prompts`, read from the head of the file if possible.

    For listings: nothing is validated. Raises `BadRunError` if the file is missing or not JSON.
    """
    path = inside(run_dir, MANIFEST)
    with contextlib.suppress(OSError, ValueError):
        with open_regular(path) as f:
            head = f.read(1 << 18)
        mark = head.find(PROMPTS_MARK.encode())
        fields = parse_json(head[:mark] + b' "prompts": []}') if mark >= 0 else None
        if isinstance(fields, dict) and fields.get("format_version") == FORMAT_VERSION:
            return fields
    raw = _load_json(path, max_bytes=min(MAX_BYTES, _LISTED_BYTES))
    prompts = raw.pop("prompts", None)
    return {"n_prompts": len(prompts) if isinstance(prompts, list) else None, **raw}


def unknown_version(version: Any, *, where: str = "") -> BadRunError:
    """The error for a manifest of a format that this reader does not know."""
    shown = repr(version)[:40] if isinstance(version, str | int | float | None) else type(version).__name__
    what = f"format_version is {shown}, this reader knows 1 and {FORMAT_VERSION}"
    return BadRunError(what, where=where, next_step="Use the version that wrote it, or a newer one")


def first_error(e: ValidationError) -> str:
    """The first invalid field and the number of further ones."""
    errors = e.errors(include_url=False, include_context=False, include_input=False)
    field = ".".join(str(p) for p in errors[0]["loc"]) or "(top level)"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"field {field[:200]}: {errors[0]['msg']}{more}"


# Shared: `json.dumps` would build a new encoder with these settings at every call.
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _prompt_text(prompt: dict[str, Any]) -> str:
    return "    {\n" + ",\n".join([f'      "{k}": {_json(v)}' for k, v in prompt.items()]) + "\n    }"


def _load_json(path: Path, *, max_bytes: int) -> dict[str, Any]:
    try:
        raw = read_json_file(path, max_bytes=max_bytes)
    except FileNotFoundError as e:
        next_step = "If a dump was stopped here, finish it with --resume"
        raise BadRunError("there is no manifest", where=str(path), next_step=next_step) from e
    if not isinstance(raw, dict):
        raise BadRunError("not a JSON object", where=str(path))
    return raw


def _check_consistent(m: Manifest, path: Path, *, ids_follow_rule: bool) -> None:
    """Raise `BadRunError` with the list of contradictions in the manifest.

    Format 1 has no rule for ids and uses them only as keys, so there they only need to differ.
    """
    ids = [p.probe_id for p in m.prompts]
    try:
        if ids_follow_rule:
            check_ids(ids, where=str(path))
        elif len(set(ids)) != len(ids):
            raise BadRunError("a prompt id is used twice", where=str(path))
    except UsageError as e:
        raise BadRunError(e.what, where=str(path)) from e
    listed = {f.name for f in m.files}
    wrong = [f"{p.probe_id}: {why}" for p in m.prompts for why in _contradictions(m, p, listed)]
    if m.n_prompts != len(m.prompts):
        wrong.append(f"n_prompts is {m.n_prompts}, there are {len(m.prompts)} prompts")
    if m.layers != sorted(set(m.layers)) or not m.layers or m.layers[-1] >= m.n_layers:
        wrong.append(f"layers {m.layers[:8]} are not distinct layers of {m.n_layers}, in order")
    if wrong:
        raise BadRunError(join_some(wrong), where=str(path))


def _contradictions(m: Manifest, p: PromptRecord, listed: set[str]) -> list[str]:
    wrong = []
    shape = [len(m.layers), p.seq_len, m.d_mlp]
    if p.activation_tensor_shape != shape:
        wrong.append(f"shape {p.activation_tensor_shape} should be {shape}")
    for name in ("token_ids", "tokens", "tokens_ascii"):
        if len(getattr(p, name)) != p.seq_len:
            wrong.append(f"{len(getattr(p, name))} {name} for seq_len {p.seq_len}")
    if listed and p.file not in listed:
        wrong.append(f"file {p.file!r} is not listed in files")
    return wrong
