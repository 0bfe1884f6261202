"""What the view shows without a server: how to start one, and the view itself as soon as it answers."""

from __future__ import annotations

from urllib.parse import urlsplit

import streamlit as st

from neuron_signatures.dashboard.live.connection import Connection, read_health
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, small
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.serving import serve_command

EVERY = 5.0
"""Seconds between looks for a server."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


def say_no_server(ctx: PageContext, connection: Connection) -> None:
    """Draw the command and a button, or why the server refuses."""
    if connection.is_absent:
        local = (_host(connection.url) or "") in _LOCAL
        where = "" if local else " Start it on the machine of that address."
        empty(
            "No server answers. This view computes with a live model, which a server holds. This command starts one "
            f"with the model of this run:{where}",
            serve_command(ctx.run.manifest.model_name, ctx.run_dir.parent, connection.url),
            "The page connects by itself when the server is ready. The other views need no server.",
        )
    else:
        empty("A server answers, but not to this page:", _line(connection.problem), "The other views need no server.")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Try again", key="live_retry")
        small(f"looked at {connection.url}")
    _wait(connection)


@st.fragment(run_every=EVERY)
def _wait(connection: Connection) -> None:
    """Draw the page again when the server answers; it was asked a moment ago when this is drawn first."""
    waited = st.session_state.get("live_waited")
    st.session_state["live_waited"] = id(connection)
    if waited == id(connection) and read_health(connection.client)[0] is not None:
        st.rerun()


def _line(problem: ProjectError | None) -> str:
    return "" if problem is None else problem.line()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
