"""Steering: dose and response, and the texts."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.interventions.checks_panel import side_effects_panel
from neuron_signatures.dashboard.interventions.figures import RESPONSES, dose_response
from neuron_signatures.dashboard.interventions.sheet_table import sheet_table
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import chart, facts, quote, small
from neuron_signatures.runs.intervention_records import SteerRecord
from neuron_signatures.views.interventions.doses import (
    dose_name,
    dose_remark,
    dose_text,
    dose_texts,
    doses_sheet,
    unsteered,
)
from neuron_signatures.views.interventions.sheets import size_text


def steer_panel(ctx: PageContext, record: SteerRecord) -> None:
    st.markdown("#### Dose and response", help=_RESPONSE)
    st.session_state.setdefault("ui_int_response", RESPONSES[0])
    what = st.segmented_control("Response", RESPONSES, key="ui_int_response", label_visibility="collapsed",
                                required=True)  # fmt: skip
    if what != "difference" and any(d.null for d in record.doses):
        small("Random edits were measured on the difference only.")
    chart(ctx, dose_response(record, what), f"int_dose_{what}")
    sheet_table(ctx, doses_sheet(record), "int_doses", export=True)
    _texts(record)
    side_effects_panel(ctx, record.side_effects)


def _texts(record: SteerRecord) -> None:
    """The unsteered text beside that of a chosen amount, and all texts."""
    start, steered = unsteered(record), [d for d in record.doses if d.alpha and d.text]
    if not steered:
        return
    st.markdown("#### Texts", help="Continuations of the prompt.")
    alphas = list(dict.fromkeys(d.alpha for d in steered))
    if st.session_state.get("ui_int_alpha") not in alphas:
        st.session_state["ui_int_alpha"] = min((a for a in alphas if a > 0), default=alphas[0])
    alpha = alphas[0]
    if len(alphas) > 1:
        alpha = st.select_slider("alpha", alphas, format_func=dose_name, key="ui_int_alpha")
    dose = next(d for d in steered if d.alpha == alpha)
    left, right = st.columns(2)
    with right:
        remark = dose_remark(record, dose)
        small(_caption(f"steered, alpha {dose_name(alpha)}{', ' + remark if remark else ''}", dose.perplexity))
        quote(dose_text(dose))
    with left:
        if start is not None:
            small(_caption("unsteered", start.perplexity))
            quote(dose_text(start))
    with st.expander("All texts"):
        facts(dose_texts(record))


def _caption(what: str, perplexity: float | None) -> str:
    return what if perplexity is None else f"{what}: perplexity {size_text(perplexity)}"


_RESPONSE = (
    "The response to each amount. The dotted horizontal line is the unsteered model. "
    "Grey: random edits of the same norm. Crosses: amounts at which the text breaks."
)
