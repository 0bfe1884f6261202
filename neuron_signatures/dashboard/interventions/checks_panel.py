"""Controls and side effects of an edit."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.interventions.sheet_table import sheet_table
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import facts, small
from neuron_signatures.runs.intervention_records import Controls, SideEffects
from neuron_signatures.views.interventions.checks import (
    control_lines,
    controls_sheet,
    neutral_sheet,
    side_effect_lines,
)


def controls_panel(ctx: PageContext, controls: Controls | None) -> None:
    if controls is None:
        st.caption("This result has no controls: its effect cannot be compared with that of random edits.")
        return
    sheet_table(ctx, controls_sheet(controls), "int_controls")
    for text in control_lines(controls):
        small(text)


def side_effects_panel(ctx: PageContext, side: SideEffects | None, key: str = "int_neutral") -> None:
    if side is None:
        st.caption("Side effects on other prompts were not measured.")
        return
    st.markdown("#### Side effects", help="The same values, set at the last position of unrelated prompts.")
    facts(side_effect_lines(side))
    sheet_table(ctx, neutral_sheet(side), key)
