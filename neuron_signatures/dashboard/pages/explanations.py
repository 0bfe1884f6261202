"""Explanations view: the sets of the run with their counts, and the list of all explanations."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import shared
from neuron_signatures.dashboard.explanations.empty_state import say_nothing_yet
from neuron_signatures.dashboard.explanations.frames import SET_HELP, set_frame
from neuron_signatures.dashboard.explanations.list_panel import list_panel, read_list
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_error, show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.explanations.reading import has_explanations


def render(ctx: PageContext) -> None:
    if not has_explanations(ctx.run_dir):
        say_nothing_yet(ctx)
        return
    try:
        with st.spinner("Reading explanations", show_time=True):
            problems = shared(ctx.run_dir).problems(ctx.explanations_key)
            sets = shared(ctx.run_dir).sets(ctx.explanations_key)
            listed = read_list(ctx)
        show_lines("Some explanations of this run cannot be read.", problems)
        if not sets:
            return
        frame = set_frame(sets)
        table(frame, "explanation_sets", help=SET_HELP)
        for name, state in zip(frame["set"], frame["state"], strict=True):
            if state == "not finished":
                small(f"{name} is not finished: a command is adding to it, or was stopped and can continue it.")
        list_panel(ctx, listed)
    except (ProjectError, OSError) as e:
        show_error(e)
