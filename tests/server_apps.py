"""The server in the test's process, without a socket.

with served(runs_root=tmp_path) as client:              # no model
with served(held=demo_held(tmp_path), runs_root=...) as client:
    client.post("/v1/next_token", json={"text": "x"})
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.server.app import make_app
from neuron_signatures.server.held import Held
from neuron_signatures.server.holder import model_facts
from neuron_signatures.server.settings import Settings


@contextlib.contextmanager
def served(held: Held | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of an app with these settings. An unexpected exception is an answer 500, as over a socket."""
    app = make_app(Settings(**settings), held)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def demo_held(runs_root: Path | None = None, *, max_tokens: int = 256) -> Held:
    """The demo model in float32 on the CPU."""
    model = load_model(ModelSpec("demo", dtype="fp32", device="cpu"))
    return Held(model, model_facts(model), runs_root, max_tokens)
