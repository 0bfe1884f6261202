"""The client against a server that answers as told."""

from __future__ import annotations

import pytest
from misbehaving_server import MisbehavingServer, send_json
from processes import free_port

from neuron_signatures.client import Client, ServerProblem

HEALTH = {
    "status": "ok", "version": "1", "started_at_utc": "2026-01-01T00:00:00+00:00",
    "model": {"state": "none", "model_name": None, "facts": None, "failure": ""},
}  # fmt: skip


def root_of(server: MisbehavingServer) -> str:
    return server.base_url.removesuffix("/v1")


def test_an_answer_is_a_message():
    with MisbehavingServer([send_json(HEALTH)]) as server, Client(root_of(server)) as client:
        health = client.health()
    assert (health.version, health.model.state) == ("1", "none")
    assert server.requests[0].path == "/v1/health"


def test_without_a_server_the_error_says_how_to_start_one():
    port = free_port()
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ServerProblem) as caught:
        client.health()
    assert caught.value.type == "no_server"
    assert str(caught.value) == (
        f"no server at http://127.0.0.1:{port}. Start one with `python -m neuron_signatures.serve --model_name demo`"
    )
