"""Answers of a search, kept in memory: keyed by the stamps of the index, the explanations and the write scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.data.result_cache import cached
from neuron_signatures.dashboard.live.server_at import LiveClient
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.views.search_run.asked import Answer, Asked, answer

_SECONDS = 60.0
"""For one answer of the server, the wait in its queue and the loading of the embedding model included."""


def search_of(ctx: PageContext) -> Search:
    """The search in the run, shared by all sessions; it reads files again that changed."""
    found: Search = _search(ctx.run_dir)
    return found


def find(ctx: PageContext, asked: Asked) -> Answer:
    """The answer, kept until a file changes. Raises what `Search` raises, by meaning what `client.run_search` does."""
    key = ("search", ctx.run_dir, ctx.results_key, ctx.explanations_key, asked)
    if asked.way == "meaning":
        return cached(lambda: _by_meaning(ctx, asked), *key, ctx.server.url, spinner="Searching by meaning")
    return cached(lambda: answer(search_of(ctx), asked), *key, spinner="Searching")


def _by_meaning(ctx: PageContext, asked: Asked) -> Answer:
    from neuron_signatures.client.run_search import by_meaning  # imports the network library

    client: LiveClient = _client(ctx.server.url, ctx.server.connect)
    return by_meaning(client, ctx.selection.run, ctx.run.manifest, asked)


@st.cache_resource(show_spinner=False, max_entries=2)
def _search(run_dir: Path) -> Search:
    return Search.open(run_dir)


@st.cache_resource(show_spinner=False, max_entries=4)
def _client(url: str, _connect: Callable[[str, float], LiveClient]) -> LiveClient:
    """One client for all sessions; it may be used by several threads."""
    return _connect(url, _SECONDS)
