"""Neuron view: one neuron on one prompt, on all prompts, and its results."""

from __future__ import annotations

import contextlib

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun, read_neuron
from neuron_signatures.dashboard.neuron.facts import signature_panel, write_panel
from neuron_signatures.dashboard.neuron.figures import Curve, histogram, over_tokens
from neuron_signatures.dashboard.neuron.heatmap_panel import all_prompts, default_settings, this_prompt
from neuron_signatures.dashboard.neuron.read_ahead import read_next
from neuron_signatures.dashboard.shell.list_walk import rank_fact
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.widgets.elements import chart, facts, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.acts import Stats

_MOST_OVERLAID = 10
_TOKEN_HELP = {
    "position": "Position in the prompt, from 0.",
    "id": "The token id.",
    "token": "· is a space, ⏎ a line break.",
    "activation": "Activation of this neuron at the token.",
    "mark": "Maximum and minimum of the included tokens; excluded tokens are marked.",
}


def render(ctx: PageContext) -> None:
    default_settings()
    neuron = read_neuron(ctx, include_bos=st.session_state["ui_bos"])
    index = ctx.selection.prompt
    heading(ctx.at.label, f"on prompt {index + 1} of {len(neuron.prompts)}, {ctx.prompt.probe_id}")
    _rank(ctx)
    options = this_prompt(ctx, neuron)
    _numbers(neuron.stats(index), neuron)
    left, right = st.columns(2)
    with left:
        _curves(ctx, neuron)
    with right:
        _histogram(ctx, neuron)
    left, right = st.columns(2)
    with left:
        signature_panel(ctx)
    with right:
        write_panel(ctx)
    st.markdown("#### Explanation")
    st.caption("No explanation of this neuron is stored in the run.")
    all_prompts(ctx, neuron, options)
    with st.expander("Table of this prompt's tokens"):
        table(neuron.token_frame(index), "neuron_tokens", help=_TOKEN_HELP)
    read_next(ctx)


def _rank(ctx: PageContext) -> None:
    """Show the neuron's rank in the selected list."""
    ref = ctx.listed
    if ref is None or ctx.selection.row is None:
        return
    with contextlib.suppress(ProjectError):  # the sidebar reports the error
        ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
        if ctx.selection.row < len(ranked):
            facts([rank_fact(ranked, ranked.row(ctx.selection.row))])


def _numbers(stats: Stats, neuron: NeuronOnRun) -> None:
    here, everywhere = st.columns(2)
    with here:
        facts([("on this prompt", _sentence(stats))])
    with everywhere:
        facts([("over the run", _sentence(neuron.stats_over_run(), positions=False))])


def _sentence(s: Stats, *, positions: bool = True) -> str:
    if s.max is None or s.min is None:
        return f"no finite value ({s.n_nonfinite} not finite)" if s.n_nonfinite else "no included token"
    at_max, at_min = (f" at {s.max_pos}", f" at {s.min_pos}") if positions else ("", "")
    bad = f", {s.n_nonfinite} not finite" if s.n_nonfinite else ""
    return f"max {s.max:+.4g}{at_max}, min {s.min:+.4g}{at_min}, mean {s.mean:+.4g}, std {s.std:.4g}{bad}"


def _curves(ctx: PageContext, neuron: NeuronOnRun) -> None:
    title, more = st.columns([3, 2], vertical_alignment="center")
    title.markdown("#### Over tokens", help="The neuron's activation at each token of the prompt.")
    labels = cached_reads.prompt_labels(ctx.run, ctx.data_key)
    with more.popover("Overlay prompts"):
        key = f"ui_overlay_{ctx.selection.run}"
        options = [i for i in range(len(labels)) if i != ctx.selection.prompt]
        others: list[int] = st.multiselect(
            "Prompts to overlay", options, format_func=labels.__getitem__, key=key,
            max_selections=_MOST_OVERLAID - 1,
        )  # fmt: skip
    curves = [
        Curve(neuron.prompts[i].probe_id, neuron.prompts[i].tokens, neuron.values[i], neuron.counts[i])
        for i in (ctx.selection.prompt, *others)
    ]
    chart(ctx, over_tokens(curves), "neuron_curves")


def _histogram(ctx: PageContext, neuron: NeuronOnRun) -> None:
    st.markdown("#### All tokens of the run", help="Histogram of the activations and a kernel density estimate.")
    values = neuron.counted_values()
    finite = values[np.isfinite(values)]
    if not finite.size:
        st.caption("No included token.")
        return
    chart(ctx, histogram(values), "neuron_histogram")
    if float(finite.std()) == 0:
        st.caption("The activation is the same at every token.")
