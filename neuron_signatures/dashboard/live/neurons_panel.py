"""Neurons at the chosen position: those that fire, or those with influence on the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast, get_args

import streamlit as st

from neuron_signatures.api.live import ActivationsRequest, InfluenceRequest, LiveMetric
from neuron_signatures.dashboard.interventions.sheet_table import sheet_frame
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.focus_panel import Focus
from neuron_signatures.dashboard.live.keys import CHOSEN, EDITED, KIND, WHERE
from neuron_signatures.dashboard.live.run_link import RunLink
from neuron_signatures.dashboard.live.sheets import SAID, firing_sheet, influence_sheet
from neuron_signatures.dashboard.widgets.elements import show_lines, small, table
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.sheets import Sheet, share_text, signed_text, size_text

What = Literal["fire", "influence"]
_WHAT, _BY, _METRIC, _REFERENCE, _POSITIONS = (
    "ui_live_what", "ui_live_by", "ui_live_metric", "ui_live_reference", "ui_live_positions",
)  # fmt: skip
_TOP, _EDITED = 20, 10
_HEIGHT = 388
_FORMATS = {"signed": "%+.4g"}
_WHATS: dict[What, str] = {"fire": "Neurons that fire", "influence": "Neurons with influence"}
_BY_HELP = (
    "z: how unusual the activation is for the neuron, (act - mean) / std over tokens of the run. |act|: how large it "
    "is; neurons that are always on come first."
)
_METRIC_HELP = (
    "Estimates, in logits of the target. act_grad: (act - reference) x gradient. relp: the same with norm scales and "
    "attention patterns held constant and the gradient of products shared. ig: with the gradient averaged on the way "
    "from the reference. dla: what the neuron writes directly into the logit. The edit below measures."
)
DEFAULTS = {_WHAT: "fire", _BY: "z", _METRIC: "relp", _POSITIONS: "target"}


def neurons_panel(model: LiveModel, link: RunLink, focus: Focus) -> None:
    what = cast(What, st.segmented_control(
        "Neurons", list(_WHATS), format_func=_WHATS.__getitem__, key=_WHAT, required=True,
        label_visibility="collapsed",
    ))  # fmt: skip
    if what == "fire":
        _firing(model, link, focus)
    else:
        _influence(model, link, focus)


def _firing(model: LiveModel, link: RunLink, focus: Focus) -> None:
    by = "act"
    if link.on_server:
        by = st.radio("Order", ("z", "|act|"), key=_BY, horizontal=True, help=_BY_HELP, label_visibility="collapsed")
    request = ActivationsRequest(
        text=focus.asked.text, bos=focus.asked.bos, positions=[focus.pos], top_k=_TOP,
        against_run=link.on_server if by == "z" else None,
    )  # fmt: skip
    with st.spinner("Waiting for the model"):
        answer = model.ask(lambda c: c.activations, request, link.ctx.data_key, link.ctx.results_key)
    sheet = firing_sheet(answer, focus.pos, link.describe)
    _table(sheet, "live_firing")
    _offer_edit(list(dict.fromkeys(sheet.neurons))[:_EDITED], "", {})
    show_lines("How far to trust it", answer.warnings)
    order = f"|z|, relative to {brief(answer.reference)}" if answer.ordered_by == "z" else "|act|"
    small(f"The first {len(sheet.rows)} of all layers at position {focus.label}, by {order}.{_without_z(link)}")


def _without_z(link: RunLink) -> str:
    return "" if link.on_server else f" No z: {link.why_not}."


def _influence(model: LiveModel, link: RunLink, focus: Focus) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_live_influence"):
        metric = st.selectbox("Metric", get_args(LiveMetric), key=_METRIC, help=_METRIC_HELP, width=140)
        references = ("mean", "zero") if link.on_server else ("zero",)
        st.session_state.setdefault(_REFERENCE, references[0])
        reference = st.selectbox(
            "Reference", references, key=_REFERENCE, width=140,
            help="What the activation is compared with: 0, or the neuron's mean over tokens of the run (of its "
            "corpus if it has records, else of its prompts).",
        )  # fmt: skip
        positions = st.selectbox(
            "Positions", ("target", "all"), key=_POSITIONS, width=140,
            help="Neurons at the chosen position only, or at all up to it except the first.",
        )  # fmt: skip
    if focus.on is None:
        small("The target must be one token.")
        return
    request = InfluenceRequest(
        text=focus.asked.text, bos=focus.asked.bos, on=focus.on, metric=metric, top_k=_TOP, positions=positions,
        reference=link.mean_of if reference == "mean" else "zero",
    )  # fmt: skip
    with st.spinner("Waiting for the model"):
        answer = model.ask(lambda c: c.influence, request, link.ctx.data_key, link.ctx.results_key)
    sheet = influence_sheet(answer, link.describe)
    _table(sheet, "live_influence")
    supports = [r for r in answer.rows if r.influence > 0]
    first = list(dict.fromkeys(NeuronAt(r.layer, r.neuron) for r in supports))[:_EDITED]
    as_estimated = {
        KIND: "mean" if reference == "mean" else "zero",
        WHERE: "here" if positions == "target" else "later",
    }
    _offer_edit(first, " with positive influence", as_estimated)
    if first:
        total = sum(r.influence for r in supports if NeuronAt(r.layer, r.neuron) in first)
        small(f"The influence of these adds up to {signed_text(total)}: the estimate of what setting them to the "
              "reference takes away.")  # fmt: skip
    share = ""
    if answer.share_shown is not None:
        share = f", {share_text(answer.share_shown)} of all |influence| ({size_text(answer.sum_abs)})"
    small(
        f"On the {texts.target_name(answer.on)} ({signed_text(answer.on.value)}) by {brief(answer.metric)}, reference "
        f"{brief(answer.reference)}. Shown: the first {len(answer.rows)}{share}; the sum of all is "
        f"{signed_text(answer.sum_all)}."
    )
    show_lines("How far to trust it", answer.warnings)


def _table(sheet: Sheet, key: str) -> None:
    neurons = tuple(sheet.neurons)
    table(
        sheet_frame(sheet), key, help={c.name: c.help for c in sheet.columns if c.help}, height=_HEIGHT,
        formats={c.name: _FORMATS[c.kind] for c in sheet.columns if c.kind in _FORMATS},
        widths=dict.fromkeys(SAID, 200), on_row=_chooses(neurons),
    )  # fmt: skip


def _offer_edit(first: Sequence[NeuronAt], which: str, inputs: Mapping[str, str]) -> None:
    """A button that puts these neurons into the edit, with other `inputs`; `which` says which they are."""
    new = {EDITED: ", ".join(at.label for at in first), **inputs}
    st.button(
        f"Edit the first {len(first)}{which} together", key="live_edit_first", disabled=not first,
        on_click=lambda: st.session_state.update(new), help="Fills in the edit below" + (
            ", with the reference and the positions of the estimate." if inputs else "."
        ),
    )  # fmt: skip


def _chooses(neurons: tuple[NeuronAt, ...]) -> Callable[[int], None]:
    return lambda row: st.session_state.update({CHOSEN: neurons[row]})
