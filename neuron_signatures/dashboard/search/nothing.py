"""What the Search view says where it cannot answer: what is missing, and the command that makes it."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, show_error, small
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.search_run.commands import Missing
from neuron_signatures.views.serving import serve_command

_ABSENT = ("no_server", "no_answer")


def say_missing(found: Missing) -> None:
    empty(f"{found.what} This command makes what is missing:", found.command)


def say_no_meaning(ctx: PageContext, problem: ProjectError | OSError) -> None:
    """Why a search by meaning has no answer: no server, one without this run, or another problem."""
    from neuron_signatures.client.problem import ServerProblem  # imports the network library
    from neuron_signatures.client.run_search import OtherRunError

    command = serve_command(ctx.run.manifest.model_name, ctx.run_dir.parent, ctx.server.url)
    if isinstance(problem, OtherRunError):
        empty("The server that answers has no copy of this run. This command starts one that has:", command)
        small(problem.line())
    elif isinstance(problem, ServerProblem) and problem.type in _ABSENT:
        empty(
            "No server answers. A search by meaning embeds the query, which this page cannot: it loads no model. This "
            "command starts a server:",
            command, "Words and written tokens are found without a server.",
        )  # fmt: skip
    else:
        show_error(problem, "The server cannot answer this.")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Try again", key="search_retry")
        small(f"looked at {ctx.server.url}")
