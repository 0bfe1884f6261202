"""Whether a result is about the tensors that the run holds now, or about those of another dump."""

from __future__ import annotations

from typing import Any

from neuron_signatures.runs.manifest import Manifest

_SAME = (
    "created_at_utc", "model_name", "weights_fingerprint", "hook_name", "layers", "d_mlp", "n_prompts", "n_tokens",
)  # fmt: skip


def another_dump(manifest: Manifest, record: Any) -> str:
    """What to say of a result whose record names another dump than the manifest's; empty where it is the same.

    It happens when new tensors are copied over a run folder that has results. A migrated run is still the same.
    """
    of = record.get("run") if isinstance(record, dict) else None
    if not isinstance(of, dict):
        return "its record does not say which dump it was made from"
    differs = [name for name in _SAME if of.get(name) != getattr(manifest, name)]
    if not differs:
        return ""
    if "created_at_utc" not in differs:
        return f"made from another dump than this run ({', '.join(differs)})"
    return (
        f"made from another dump ({str(of.get('created_at_utc'))[:19]}) than this run ({manifest.created_at_utc[:19]})"
    )
