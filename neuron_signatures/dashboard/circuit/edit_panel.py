"""Ablate or scale the selection in the live model of a server, and compare the change with the predicted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import streamlit as st

from neuron_signatures.api.live import InterveneAnswer
from neuron_signatures.dashboard.circuit.edits import (
    EditOf,
    Predicted,
    edit_request,
    neurons_of,
    predicted_change,
)
from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
from neuron_signatures.dashboard.interventions.sheet_table import sheet_frame
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.connection import Connection, open_connection
from neuron_signatures.dashboard.live.sheets import change_sheet
from neuron_signatures.dashboard.widgets.elements import facts, lead, show_lines, small, table
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.interventions.sheets import signed_text
from neuron_signatures.views.serving import serve_command

_OPEN, _KIND, _FACTOR, _DRAWS = "ui_circuit_edit", "ui_circuit_edit_kind", "ui_circuit_factor", "ui_circuit_draws"
_APPLIED: Final = "circuit_applied"
_KINDS: dict[EditOf, str] = {"ablate": "set to the reference", "scale": "scale by"}
_FEWEST_DRAWS: Final = 20
_LISTED: Final = 100
_DRAWS_HELP = (
    "Random sets of as many neurons of the same layers, with changes of the same size in the residual stream: what the "
    "effect is compared with."
)
_FORMATS = {"share": "percent", "signed": "%+.3g"}


@dataclass(frozen=True)
class Applied:
    """The edit that the button applied."""

    circuit: str
    nodes: tuple[Node, ...]
    kind: EditOf
    factor: float
    draws: int


def edit_panel(page: CircuitPage) -> None:
    """Draw the switch, and behind it the inputs and the effect, or how to start a server, which is asked only then."""
    if not st.toggle("Ablate or scale the selection in the live model", key=_OPEN):
        return
    try:
        connection = open_connection(page.ctx.server)
    except ProjectError as e:
        small(e.line())
        return
    if connection.model is None:
        _no_server(page, connection)
        return
    why = texts.why_another(page.ctx.run.manifest, connection.model.facts)
    if why:
        small(f"The server cannot edit these neurons: {why}. This command starts one that can:")
        _command(page, connection)
        return
    _inputs(page)
    applied = cast(Applied | None, st.session_state.get(_APPLIED))
    if applied is not None and applied.circuit == page.name:
        try:
            _effect(page, connection.model, applied)
        except ProjectError as e:
            st.code(e.line(), language=None, wrap_lines=True)


def _no_server(page: CircuitPage, connection: Connection) -> None:
    if connection.state is not None:
        small(f"A server answers at {connection.url}, but its model is not ready. Load one in the view Live, or wait.")
    elif connection.is_absent:
        small(
            "No server answers. This command starts one with the model of this run; the rest of this page needs none:"
        )
        _command(page, connection)
    else:
        small("A server answers, but not to this page:")
        st.code(connection.problem.line() if connection.problem else "", language=None, wrap_lines=True)
    st.button("Try again", key="circuit_retry")


def _command(page: CircuitPage, connection: Connection) -> None:
    command = serve_command(page.ctx.run.manifest.model_name, page.ctx.run_dir.parent, connection.url)
    st.code(command, language="bash", wrap_lines=True)


def _inputs(page: CircuitPage) -> None:
    nodes = neurons_of(page.selected_nodes)
    st.session_state.setdefault(_FACTOR, 2.0)
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_circuit_edit"):
        kind = st.selectbox("Edit", list(_KINDS), key=_KIND, format_func=_KINDS.__getitem__, width=190,
                            help="Each neuron only at the position of its node.")  # fmt: skip
        st.number_input("Factor", value=None, key=_FACTOR, disabled=kind != "scale", format="%.6g", width=100)
        with st.container(width=130):
            draws = whole_number("Random sets", _DRAWS, low=_FEWEST_DRAWS, high=1000, default=_FEWEST_DRAWS,
                                 help=_DRAWS_HELP)  # fmt: skip
        factor = st.session_state[_FACTOR]
        st.button(
            f"Apply to {count_of(len(nodes), 'neuron')}", key="circuit_apply", type="primary",
            disabled=not nodes or (kind == "scale" and factor is None),
            on_click=lambda: st.session_state.update(
                {_APPLIED: Applied(page.name, nodes, kind, float(factor or 0.0), draws)}
            ),
        )  # fmt: skip
    if not nodes:
        small("Select neurons on the canvas.")


def _effect(page: CircuitPage, model: LiveModel, applied: Applied) -> None:
    request = edit_request(applied.nodes, page.graph.prompt, applied.kind, applied.factor, controls=applied.draws,
                           top_k=_LISTED)  # fmt: skip
    with st.spinner("Waiting for the model: the edit, then random neurons", show_time=True):
        answer = model.ask(lambda c: c.intervene, request, page.ctx.data_key)
    lead(texts.verdict(answer))
    small(edit_text(applied))
    left, right = st.columns([2, 3])
    with left:
        predicted = predicted_change(applied.nodes, applied.kind, applied.factor)
        facts([*predicted_facts(answer, predicted), *texts.effect_facts(answer, len(applied.nodes))])
        show_lines("How far to trust it", answer.warnings)
    with right:
        sheet = change_sheet(answer, n=5)
        formats = {c.name: _FORMATS[c.kind] for c in sheet.columns if c.kind in _FORMATS}
        table(sheet_frame(sheet), "circuit_changes", help={c.name: c.help for c in sheet.columns}, at_most=388,
              formats=formats)  # fmt: skip
        small("The five most likely tokens of either prediction.")


def edit_text(applied: Applied) -> str:
    """`set to the reference: L3N508 at 8, L4N178 at 8`."""
    names = ", ".join(f"{n.name} at {n.pos}" for n in applied.nodes[:6])
    more = f" and {len(applied.nodes) - 6:,} more" if len(applied.nodes) > 6 else ""
    by = f" {applied.factor:g}" if applied.kind == "scale" else ""
    return f"{_KINDS[applied.kind]}{by}: {names}{more}"


def predicted_facts(answer: InterveneAnswer, predicted: Predicted) -> list[tuple[str, str]]:
    """The predicted change beside the one that the server computed, for the same edit and target."""
    if predicted.change is None:
        return [("predicted", "not known: these nodes have no total effects")]
    of = "" if predicted.n_known == predicted.n else f" over {predicted.n_known} of {predicted.n} neurons"
    return [("predicted", f"{signed_text(predicted.change)} logits, the sum of total effects{of}; computed "
                          f"{signed_text(answer.effect)}")]  # fmt: skip
