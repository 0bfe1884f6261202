"""Live view: type a text, see the neurons fire, edit some and see the answer change. A server computes everything; the
run only adds what it says of the same neurons."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from neuron_signatures.dashboard.live import edit_panel, neurons_panel
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.connection import open_connection
from neuron_signatures.dashboard.live.effect_panel import effect_panel
from neuron_signatures.dashboard.live.focus_panel import choose_focus, prediction_panel
from neuron_signatures.dashboard.live.model_panel import model_panel
from neuron_signatures.dashboard.live.neuron_card import neuron_card
from neuron_signatures.dashboard.live.no_server import say_no_server
from neuron_signatures.dashboard.live.run_link import link_to_run
from neuron_signatures.dashboard.live.text_panel import Asked, ask_text
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.runs.errors import ProjectError


def render(ctx: PageContext) -> None:
    for key, value in {**neurons_panel.DEFAULTS, **edit_panel.DEFAULTS}.items():
        st.session_state.setdefault(key, value)
    heading("Live", "computed now by the server's model; what comes from the run is marked")
    connection = open_connection(ctx.server)
    if connection.health is None and connection.model is None:
        say_no_server(ctx, connection)
        return
    model_panel(ctx, connection)
    ready = connection.model is not None and connection.health is not None
    asked = ask_text(ctx, ready=ready)
    if asked is not None and connection.model is not None:
        _guarded(lambda model: _answers(ctx, model, asked), connection.model)


def _answers(ctx: PageContext, model: LiveModel, asked: Asked) -> None:
    link = link_to_run(ctx, model)
    focus, prediction = choose_focus(model, asked)
    left, right = st.columns([2, 3])
    with left:
        prediction_panel(focus, prediction)
    with right:
        _guarded(lambda m: neurons_panel.neurons_panel(m, link, focus), model)
    _guarded(lambda m: neuron_card(m, link, focus), model)
    applied = edit_panel.edit_panel(model, link, focus)
    if applied is not None:
        _guarded(lambda m: effect_panel(m, link, applied), model)


def _guarded(draw: Callable[[LiveModel], None], model: LiveModel) -> None:
    """Draw one part; a problem of the server is one line in its place."""
    try:
        draw(model)
    except ProjectError as e:
        st.code(e.line(), language=None, wrap_lines=True)
