"""Skills view: how alike classes and skills are, which units are specific for them, and what these do when raised."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.skills.overview_panel import overview_panel, say_missing
from neuron_signatures.dashboard.skills.similarity_panel import similarity_panel
from neuron_signatures.dashboard.skills.steer_panel import steer_panel
from neuron_signatures.dashboard.skills.units_panel import classification_panel, probes_panel, specific_panel
from neuron_signatures.dashboard.widgets.elements import show_error
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.skills.tables import finished_modes


def render(ctx: PageContext) -> None:
    if "collect" not in finished_modes(ctx.run_dir):
        say_missing(ctx, "collect")
        return
    try:
        done = overview_panel(ctx)
        if "compare" not in done:
            say_missing(ctx, "compare")
            return
        similarity_panel(ctx)
        specific_panel(ctx, done)
        left, right = st.columns(2)
        with left:
            probes_panel(ctx)
        with right:
            classification_panel(ctx, done)
        st.markdown("#### Steering")
        if "steer" in done:
            steer_panel(ctx)
        else:
            say_missing(ctx, "steer")
    except (ProjectError, OSError) as e:
        show_error(e)
