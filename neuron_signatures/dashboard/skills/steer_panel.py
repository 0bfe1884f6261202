"""What specific units do to the texts of their class when they are raised, beside controls."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_skills import skill_table
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.skills.figures import dose_response
from neuron_signatures.dashboard.skills.frames import STEER_HELP, THREE, steer_frame
from neuron_signatures.dashboard.widgets.elements import chart, small, table
from neuron_signatures.runs.skills.names import STEERING_SUMMARY
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.skills.groups import OUTCOME_WORDS

_CLASS, _UNIT, _OUTCOME = "ui_skills_steer_class", "ui_skills_steer_unit", "ui_skills_steer_outcome"


def steer_panel(ctx: PageContext) -> None:
    frame = skill_table(ctx, STEERING_SUMMARY)
    if not len(frame):
        st.caption("No unit was steered.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_skills_steer"):
        outcomes = [o for o in OUTCOME_WORDS if o in set(frame["outcome"])]
        outcome = st.selectbox("Effect", outcomes, key=_OUTCOME, format_func=OUTCOME_WORDS.__getitem__)
        frame = frame[frame["outcome"] == outcome]
        of_class = st.selectbox("Class", sorted(frame["class"].unique()), key=_CLASS, format_func=escape)
        rows = frame[frame["class"] == of_class]
        keys = list(dict.fromkeys(zip(rows["label"], rows["edit"], strict=True)))
        unit = st.selectbox("Unit", keys, key=_UNIT, format_func=lambda k: escape(f"{k[0]}, {k[1]}"))
    own = rows[(rows["label"] == unit[0]) & (rows["edit"] == unit[1])]
    left, right = st.columns([2, 3])
    with left:
        chart(ctx, dose_response(own), "skills_dose")
        small("Effect on held-out texts of the class, on the middle 90 % of the controls.")
    with right:
        shown = steer_frame(rows[rows["chosen"]])
        small("All units of the class at the dose that was chosen on other texts.")
        numbers = [c for c in shown if shown[c].dtype.kind == "f"]
        table(shown, "skills_steered", help=STEER_HELP, height=330, formats=dict.fromkeys(numbers, THREE))
    with st.popover("Export"):
        downloads(frame, "skills_steering", "skills_steering_export")
