"""The fields that all stage records of stages 2 and 3 share: the run, the code, the time, and the versions."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.versions import versions

RECORD_VERSION = 1
STAGE = "poc2_analyze_run"


def stage_record(run: dict[str, Any], mode: str, settings: Any, *, stage: str = STAGE, **more: Any) -> dict[str, Any]:
    """The stage record of one mode on the `run_identity` given.

    `settings` are its resolved flags, `more` its results and warnings. `cpu_threads` and `deterministic` (whether torch
    used only deterministic operations) are null if the mode needs no model.
    """
    torch = sys.modules.get("torch")
    return {
        "record_version": RECORD_VERSION,
        "stage": stage,
        "mode": mode,
        "created_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "cpu_threads": torch.get_num_threads() if torch else None,
        "deterministic": torch.are_deterministic_algorithms_enabled() if torch else None,
        "run": run,
        "settings": settings,
        **more,
    }


def run_identity(run: Run) -> dict[str, Any]:
    """The properties of the run that a result depends on; null if the run does not record them (format 1)."""
    fields = (
        "created_at_utc", "model_name", "model_revision", "weights_fingerprint", "tokenizer_sha256", "quantization",
        "model_dtype", "save_dtype", "hook_name", "n_layers", "layers", "d_mlp", "n_prompts", "n_tokens",
    )  # fmt: skip
    return {"format_version": run.format_version, **{f: getattr(run.manifest, f) for f in fields}}
