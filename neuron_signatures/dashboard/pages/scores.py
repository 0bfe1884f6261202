"""Scores view: what was scored, one score of one set over neurons, two sets, layers, and where explanations fail."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_scores import shared
from neuron_signatures.dashboard.scores.compare_panel import compare_panel
from neuron_signatures.dashboard.scores.empty_state import say_nothing_yet
from neuron_signatures.dashboard.scores.mistakes_panel import mistakes_panel
from neuron_signatures.dashboard.scores.over_neurons_panel import distribution_panel, layer_panel, list_panel
from neuron_signatures.dashboard.scores.sets_panel import choose, sets_panel
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_error, show_lines, small
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.scores.reading import has_scores
from neuron_signatures.views.scores.texts import FOR_CHOOSING


def render(ctx: PageContext) -> None:
    if not has_scores(ctx.run_dir):
        say_nothing_yet(ctx)
        return
    try:
        with st.spinner("Reading scores", show_time=True):
            sets = sets_panel(ctx)
        show_lines("Some scores of this run cannot be read.", shared(ctx.run_dir).problems(ctx.scores_key))
        if not sets:
            return
        with st.container(horizontal=True, vertical_alignment="bottom", key="controls_scores"):
            chosen = choose(ctx, sets)
            copy_link(ctx)
        if chosen is None:
            return
        if chosen.info.split != "report":
            small(f"{chosen.info.name} was measured on the part select: {FOR_CHOOSING}. It is in no summary.")
            list_panel(ctx, chosen)
            return
        if not chosen.info.finished:
            small(f"{chosen.info.name} is not finished: a command is adding to it, or was stopped and can continue it.")
        left, right = st.columns(2)
        with left:
            distribution_panel(ctx, chosen)
        with right:
            layer_panel(ctx, chosen)
        compare_panel(ctx, sets, chosen)
        list_panel(ctx, chosen)
        mistakes_panel(ctx, chosen)
    except (ProjectError, OSError) as e:
        show_error(e)
