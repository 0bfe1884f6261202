"""What the flags of the server say."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from neuron_signatures.api.models import QuantizationRequest
from neuron_signatures.models.spec import Dtype

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS: Final = ("0.0.0.0", "::")
"""Listening on these, the server is called by the name of its machine."""

Embedder = Literal["minilm", "none"]


@dataclass(frozen=True)
class Settings:
    """The server's configuration. `model_name` None: no model is loaded at the start; `runs_root` None: no runs.

    Only `model_name`, `allow_models` and the suggestions of `models.catalog` can be loaded. `allowed_hosts` are names
    (with or without a port) by which the server may be called besides its own. `timeout` is in seconds, from the
    arrival of a request to the end of its work. `max_queue` counts requests that wait or run, per queue (`service`).
    `model_dtype` None: bf16 on a GPU, fp32 elsewhere.
    """

    model_name: str | None = None
    model_revision: str | None = None
    model_dtype: Dtype | None = None
    device: str = "auto"
    quantization: QuantizationRequest = "auto"
    allow_models: tuple[str, ...] = ()
    runs_root: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8600
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = None
    max_queue: int = 16
    timeout: float = 60.0
    max_tokens: int = 1024
    max_body: int = 1_000_000
    body_timeout: float = 10.0
    """Seconds in which the body of a request must arrive."""
    embedder: Embedder = "minilm"
    """The sentence embedder of the search by meaning; none: there is no such search."""

    @property
    def name(self) -> str:
        """The host in the server's URL."""
        host = socket.gethostname() if self.host in ANY_ADDRESS else self.host
        return f"[{host}]" if ":" in host else host

    @property
    def url(self) -> str:
        return f"http://{self.name}:{self.port}"

    def __repr__(self) -> str:
        """Without the token, so that no log can contain it."""
        return f"Settings({self.model_name!r}, {self.host}:{self.port}, runs_root={self.runs_root})"


def default_dtype(device_type: str) -> Dtype:
    """The precision where none is asked for: a CPU computes bfloat16 slowly, and has the memory."""
    return "bf16" if device_type == "cuda" else "fp32"
