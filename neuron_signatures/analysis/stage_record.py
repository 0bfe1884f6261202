"""What every stage record of the analysis begins with: which code read which run, when, and with which libraries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.versions import versions

RECORD_VERSION = 1
STAGE = "poc2_analyze_run"


def stage_record(run: Run, mode: str, settings: Any, **more: Any) -> dict[str, Any]:
    """The stage record of one mode; `settings` are what the flags came to, `more` are its results and warnings."""
    return {
        "record_version": RECORD_VERSION,
        "stage": STAGE,
        "mode": mode,
        "created_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "run": run_identity(run),
        "settings": settings,
        **more,
    }


def run_identity(run: Run) -> dict[str, Any]:
    """What was run on what, as far as a result depends on it; null where format 1 does not say."""
    m: Manifest = run.manifest
    fields = (
        "created_at_utc", "model_name", "model_revision", "weights_fingerprint", "tokenizer_sha256", "quantization",
        "model_dtype", "save_dtype", "hook_name", "n_layers", "layers", "d_mlp", "n_prompts", "n_tokens",
    )  # fmt: skip
    return {"format_version": run.format_version, **{f: getattr(m, f) for f in fields}}
