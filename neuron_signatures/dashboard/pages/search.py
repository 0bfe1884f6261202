"""Search view: explanations and exemplars by words or by meaning, and neurons by a token that they write."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from neuron_signatures.dashboard.search.finding import find, search_of
from neuron_signatures.dashboard.search.form import form
from neuron_signatures.dashboard.search.nothing import say_missing, say_no_meaning
from neuron_signatures.dashboard.search.results import show_results
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_error, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.search.hits import Contents
from neuron_signatures.views.search_run.asked import WAYS, Asked, Way
from neuron_signatures.views.search_run.commands import Missing, missing


def render(ctx: PageContext) -> None:
    try:
        contents = search_of(ctx).contents()
    except (ProjectError, OSError) as e:
        show_error(e, "The search index of this run cannot be read.")
        contents = None
    lacks = {} if contents is None else missing(contents, ctx.run_dir)
    if len(lacks) == len(WAYS):
        for found in dict.fromkeys(lacks.values()):
            say_missing(found)
        return
    asked = form(ctx)
    if asked.way in lacks:
        say_missing(lacks[asked.way])
    elif not asked.query.strip():
        _say_contents(contents, lacks)
    else:
        _answer(ctx, asked)


def _answer(ctx: PageContext, asked: Asked) -> None:
    try:
        with st.spinner("Searching"):
            found = find(ctx, asked)
    except (ProjectError, OSError) as e:
        if asked.way == "meaning":
            say_no_meaning(ctx, e)
        else:
            show_error(e, "This search has no answer.")
        return
    show_results(ctx, asked, found)


def _say_contents(contents: Contents | None, lacks: Mapping[Way, Missing]) -> None:
    """What can be searched, before anything is asked."""
    if contents is None:
        return
    texts = f"{count_of(contents.n_explanations, 'explanation')} and {count_of(contents.n_exemplars, 'exemplar')}"
    made = f", indexed {contents.created_at_utc[:16].replace('T', ' ')} UTC" if contents.has_index else ""
    small(f"{texts}{made}")
    if contents.embedder is not None:
        small(f"by meaning with {contents.embedder.name}, {contents.embedder.dimensions} dimensions")
    for note in contents.notes:
        small(note)
    for found in dict.fromkeys(found for way, found in lacks.items() if way != "words"):
        small(found.line)
