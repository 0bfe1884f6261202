"""The command that starts a server, for viewers to show."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PORT = 8600


def serve_command(model_name: str, runs_root: Path, url: str = "") -> str:
    """Starts a server for the runs of this folder, at the port of this address."""
    return shlex.join(
        ["python", "-m", "neuron_signatures.serve", "--model_name", model_name, "--runs_root", str(runs_root),
         "--port", str(_port(url) or DEFAULT_PORT)]
    )  # fmt: skip


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None
