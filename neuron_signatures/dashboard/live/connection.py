"""The server as it is now: reachable or not, and with which model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import streamlit as st

from neuron_signatures.api.models import Health, ModelState
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.checks import check_numbers
from neuron_signatures.dashboard.live.server_at import PATIENT, QUICK, LiveClient, ServerAt
from neuron_signatures.runs.errors import ProjectError

_SEEN = "live_seen"
"""Session key of the address and the last `Health` of a server with a ready model."""
_ABSENT = ("no_server", "no_answer")


@dataclass(frozen=True)
class Connection:
    """What the server said at this script run. Without an answer, `health` is None and `problem` says why."""

    url: str
    client: LiveClient
    """For questions about the server; `model` has its own, which waits longer."""
    health: Health | None
    problem: ProjectError | None
    model: LiveModel | None
    """The ready model; if the server is not reachable any more, the last one of this session."""

    @property
    def state(self) -> ModelState | None:
        return None if self.health is None else self.health.model

    @property
    def is_absent(self) -> bool:
        """Whether nothing answers at the address (rather than something that refuses)."""
        return self.health is None and getattr(self.problem, "type", "") in _ABSENT


def open_connection(at: ServerAt) -> Connection:
    """Ask the server how it is. Raises `UsageError` for an address that is none."""
    client = _client(at.url, QUICK, at.connect)
    health, problem = read_health(client)
    if health is not None:
        seen = (at.url, health)
        if health.model.state == "ready":
            st.session_state[_SEEN] = seen
        else:
            st.session_state.pop(_SEEN, None)
    return Connection(at.url, client, health, problem, _model(at, health))


def read_health(client: LiveClient) -> tuple[Health | None, ProjectError | None]:
    """How the server is, or why it does not say."""
    try:
        health = client.health()
        check_numbers(health)
    except ProjectError as e:
        return None, e
    return health, None


def _model(at: ServerAt, health: Health | None) -> LiveModel | None:
    url, client = at.url, _client(at.url, PATIENT, at.connect)
    known_url, known = cast(tuple[str, Health | None], st.session_state.get(_SEEN, ("", None)))
    now = health or (known if known_url == url else None)
    if now is None or now.model.state != "ready" or now.model.facts is None:
        return None
    identity = (url, now.started_at_utc, now.model.facts.model_dump_json())
    return LiveModel(client, now.model.facts, identity, is_reachable=health is not None)


@st.cache_resource(show_spinner=False, max_entries=4)
def _client(url: str, seconds: float, _connect: Callable[[str, float], LiveClient]) -> LiveClient:
    """One client for all sessions; it may be used by several threads."""
    return _connect(url, seconds)
