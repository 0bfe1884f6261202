"""Compare view: the pinned neurons side by side, on the same prompts."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun, order_of, read_neuron
from neuron_signatures.dashboard.neuron.colouring import Colouring
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, heatmap
from neuron_signatures.dashboard.neuron.heatmap_panel import chosen_colouring, default_settings, prompt_title
from neuron_signatures.dashboard.neuron.summary import show_summary, summary_of
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.shell.state import MOST_PINS
from neuron_signatures.dashboard.widgets.elements import empty
from neuron_signatures.views.coords import NeuronAt

_TOP = 3
"""Prompts with the largest values of each neuron."""
_MOST_TOKENS = 60


def render(ctx: PageContext) -> None:
    pins = ctx.selection.pins
    with st.container(horizontal=True, vertical_alignment="center"):
        heading("Compare", f"{len(pins)} of at most {MOST_PINS} neurons" if pins else "")
        copy_link(ctx)
    if not pins:
        empty("No neuron is pinned.", why=f"Pin up to {MOST_PINS} neurons with the button of the Neuron view.")
        return
    default_settings()
    neurons = {at: read_neuron(ctx, at, include_bos=st.session_state["ui_bos"]) for at in pins}
    colourings = {at: chosen_colouring(neuron) for at, neuron in neurons.items()}
    shown = shared_prompts(ctx.selection.prompt, [neurons[at].largest_of(colourings[at]) for at in pins])
    st.caption(
        f"The same prompts for every neuron: the selected one, and the {_TOP} with the largest values of each. "
        "Each neuron has its own colour scale."
    )
    columns = st.container(key="compare_columns").columns(len(pins))
    for column, at in zip(columns, pins, strict=True):
        with column.container(border=True):
            _neuron(ctx, at, neurons[at], colourings[at], shown)


def shared_prompts(selected: int, largest: list[np.ndarray]) -> list[int]:
    """The selected prompt, then those with the largest values of each neuron, without duplicates."""
    tops = [[i for i in order_of(sizes, by_size=True) if np.isfinite(sizes[i])][:_TOP] for sizes in largest]
    return list(dict.fromkeys([selected, *(i for top in tops for i in top)]))


def _neuron(ctx: PageContext, at: NeuronAt, neuron: NeuronOnRun, colouring: Colouring, shown: list[int]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        heading(at.label)
        st.button("Open", key=f"compare_open_{at.label}", on_click=lambda: ctx.open_neuron(at))
        st.button("Unpin", key=f"compare_unpin_{at.label}", on_click=lambda: ctx.pin(at))
    show_summary(summary_of(ctx, at, neuron))
    labels = cached_reads.prompt_labels(ctx.run, ctx.data_key, ctx.results_key)
    largest = neuron.largest_of(colouring)
    lines = [neuron.line(i, prompt_title(labels[i], largest[i], colouring), most=_MOST_TOKENS) for i in shown]
    st.html(heatmap(lines, colouring, HeatmapOptions(compact=True)))
    if colouring.spread is not None and (said := colouring.spread.always_on_text()):
        st.caption(f"{at.label} is {said}.")
