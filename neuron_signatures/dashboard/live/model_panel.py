"""The server's model: what it is, how it differs from that of the run, and the choice of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import streamlit as st

from neuron_signatures.api.models import KnownModel, LoadRequest, ModelList, ModelState, QuantizationRequest
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.checks import check_numbers
from neuron_signatures.dashboard.live.connection import Connection
from neuron_signatures.dashboard.live.status_panel import status_panel
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, facts, lead, small
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import brief, escape
from neuron_signatures.views.serving import serve_command

_MODEL, _QUANTIZATION = "ui_live_model", "ui_live_quantization"
_PROBLEM = "live_load_problem"
_QUANTIZATIONS: tuple[QuantizationRequest, ...] = get_args(QuantizationRequest)
_QUANTIZATION_HELP = (
    "auto: none if the weights fit into the free memory, else 8bit, else 4bit; the server says which and why. "
    "Activations of a quantised model differ from those of the same model without quantization."
)


def model_panel(ctx: PageContext, connection: Connection) -> None:
    """Draw the model, its memory, and the choice of another model."""
    with st.container(border=True, key="live_model"):
        left, right = st.columns([3, 2])
        with left, st.container(gap="xsmall"):
            _say_state(ctx, connection)
        with right:
            status_panel(connection)
        if connection.health is not None:
            _choose(ctx, connection)


def _say_state(ctx: PageContext, connection: Connection) -> None:
    model, state = connection.model, connection.state
    if connection.health is None:
        lead("The server does not answer any more")
        small("What was computed before is still shown, with the inputs as you left them. The page connects by itself.")
        if connection.is_absent:
            command = serve_command(ctx.run.manifest.model_name, ctx.run_dir.parent, connection.url)
            st.code(escape(command), language="bash", wrap_lines=True)
        else:
            small(_line(connection.problem))
        st.button("Try again", key="live_retry")
    elif state is not None and state.state == "loading":
        lead(f"Loading {brief(state.model_name or 'a model')} …")
        small("Requests are possible when it is ready; the page then shows it by itself.")
    elif state is not None and state.state == "failed":
        lead(f"{brief(state.model_name or 'The model')} could not be loaded")
        st.code(escape(state.failure or "The server does not say why."), language=None, wrap_lines=True)
    elif model is None:
        lead("The server has no model loaded")
    if model is not None:
        lead(texts.model_line(model.facts))
        _compare(ctx, connection)
        with st.expander("All facts of the live model"):
            facts(texts.model_facts(model.facts))


def _compare(ctx: PageContext, connection: Connection) -> None:
    """Whether the live model is that of the run."""
    assert connection.model is not None
    m, live = ctx.run.manifest, connection.model.facts
    other = texts.why_another(m, live)
    if live.quantization_reason:
        small(f"Quantised: {brief(live.quantization_reason)}")
    if not other:
        differs = texts.differences(m, live)
        small("The model of this run" + ("." if not differs else f", but with {', '.join(differs)}: numbers differ."))
        return
    st.info("This is not the model of the selected run.")
    small(f"{other[0].upper()}{other[1:]}. What the run says of neurons is not shown, because it is not of these.")
    if m.units is None and m.model_name.rstrip("/") != live.model_name.rstrip("/"):
        st.button(
            "Load the run's model", key="live_load_run", on_click=_load, args=(connection, run_model(ctx)),
            disabled=connection.health is None,
        )  # fmt: skip


def run_model(ctx: PageContext) -> LoadRequest:
    """The request for the model of the run, as it was computed."""
    m = ctx.run.manifest
    wanted: QuantizationRequest = next((q for q in _QUANTIZATIONS if q == m.quantization), "auto")
    return LoadRequest(
        model_name=m.model_name[:500] or "?", model_revision=(m.model_revision or "")[:500] or None,
        model_dtype=m.model_dtype, quantization=wanted,
    )  # fmt: skip


def _choose(ctx: PageContext, connection: Connection) -> None:
    state = connection.state
    assert state is not None
    problem = st.session_state.pop(_PROBLEM, "")
    if problem:
        st.code(escape(problem), language=None, wrap_lines=True)
    none_yet = state.state in ("none", "failed")
    with st.expander("Change the model", expanded=none_yet, key="live_change_model"):
        try:
            known = _models(connection).models
        except ProjectError as e:
            st.code(e.line(), language=None, wrap_lines=True)
            return
        ordered = ordered_models(known, ctx.run.manifest.model_name)
        if not ordered:
            st.caption("The server lists no models.")
            return
        if all(k.model_name != ctx.run.manifest.model_name for k in ordered):
            empty(
                "The model of this run is not on the server's list. This command starts a server that has it:",
                serve_command(ctx.run.manifest.model_name, ctx.run_dir.parent, connection.url),
            )
        _form(ctx, connection, ordered, state)


def _form(ctx: PageContext, connection: Connection, models: Sequence[KnownModel], state: ModelState) -> None:
    names = {k.model_name: texts.known_model_line(k) for k in models}
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_live_model"):
        name = st.selectbox("Model", list(names), format_func=lambda n: names.get(n, ""), key=_MODEL, width=480)
        how = st.selectbox(
            "Quantization", _QUANTIZATIONS, key=_QUANTIZATION, help=_QUANTIZATION_HELP, width=140
        )  # fmt: skip
        busy = state.state == "loading"
        st.button("Load", key="live_load", type="primary", disabled=busy or name is None,
                  on_click=_load, args=(connection, _request(ctx, name, how)))  # fmt: skip
        st.button("Unload", key="live_unload", disabled=busy or state.state != "ready", on_click=_unload,
                  args=(connection,), help="Frees the memory of the model.")  # fmt: skip
    chosen = next((k for k in models if k.model_name == name), None)
    if chosen is not None:
        small(
            f"{brief(chosen.architecture)}, {chosen.n_layers} layers of {chosen.d_mlp:,} neurons. "
            "Loading replaces the present model, for everybody who uses this server."
        )


def _request(ctx: PageContext, name: str | None, how: QuantizationRequest) -> LoadRequest | None:
    """The run's model is requested at the revision of the run."""
    if name is None or not 0 < len(name) <= 500:
        return None
    same = name == ctx.run.manifest.model_name
    return LoadRequest(
        model_name=name, model_revision=run_model(ctx).model_revision if same else None,
        model_dtype=ctx.run.manifest.model_dtype if same else None, quantization=how,
    )  # fmt: skip


def ordered_models(models: Sequence[KnownModel], of_run: str) -> list[KnownModel]:
    """The run's model, then those that fit, each in the order of the server, which is that of recommendation."""
    order = {"as it is": 0, "8bit": 1, "4bit": 1, None: 2, "no": 3}
    return sorted(models, key=lambda k: (k.model_name != of_run, order[k.fits]))


def _models(connection: Connection) -> ModelList:
    found = connection.client.models()
    check_numbers(found)
    return found


def _load(connection: Connection, request: LoadRequest | None) -> None:
    if request is not None:
        _act(lambda: connection.client.load_model(request, wait=False))


def _unload(connection: Connection) -> None:
    _act(connection.client.unload_model)


def _act(what: object) -> None:
    try:
        what()  # type: ignore[operator]
    except ProjectError as e:
        st.session_state[_PROBLEM] = e.line()


def _line(problem: ProjectError | None) -> str:
    return "" if problem is None else problem.line()
