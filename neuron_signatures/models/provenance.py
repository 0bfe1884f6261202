"""Where a run was made: versions, revision and machine, but never environment variables."""

from __future__ import annotations

import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.versions import versions


def provenance(device: torch.device, attn_implementation: str, flags_given: tuple[str, ...]) -> dict[str, Any]:
    """The facts that are recorded at the start of a run; the keys are fields of the manifest."""
    return {
        "created_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "device_name": device_name(device),
        "cpu_threads": torch.get_num_threads(),
        "attn_implementation": attn_implementation,
        "versions": versions(),
        "git_revision": _git_revision(),
        "flags_given": [encodable(flag) for flag in flags_given],
    }


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine() or device.type


def _git_revision() -> str | None:
    """The commit of this code, with `-dirty` if files are modified; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        out = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None
