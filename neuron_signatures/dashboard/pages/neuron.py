"""Neuron view: what one neuron writes, where it fires, and its explanations; then coloured prompts, statistics, figures
and tables, or the neuron on the records of a corpus."""

from __future__ import annotations

import contextlib

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.at_large.neuron_panel import at_large_panel
from neuron_signatures.dashboard.corpus.panel import corpus_panel, evidence_of
from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.explanations.neuron_panel import explanations_panel
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun, read_neuron
from neuron_signatures.dashboard.neuron.facts import signature_hint, write_panel
from neuron_signatures.dashboard.neuron.figures import Curve, histogram, over_tokens
from neuron_signatures.dashboard.neuron.heatmap_panel import all_prompts, default_settings, first_prompts
from neuron_signatures.dashboard.neuron.pins import pin_button
from neuron_signatures.dashboard.neuron.read_ahead import read_next
from neuron_signatures.dashboard.neuron.summary import show_summary, summary_of
from neuron_signatures.dashboard.scores.neuron_panel import scores_panel
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.list_walk import rank_fact
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.widgets.elements import chart, facts, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.acts import Stats

_ON_CORPUS = "on the records of a corpus"
_TEXTS = ("Prompts of the run", "Corpus")
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
    if ctx.has_prompts:
        _with_prompts(ctx)
        return
    _head(ctx, _ON_CORPUS)
    explanations_panel(ctx)
    at_large_panel(ctx)
    scores_panel(ctx)
    corpus_panel(ctx)


def _with_prompts(ctx: PageContext) -> None:
    neuron = read_neuron(ctx, ctx.at, include_bos=st.session_state["ui_bos"])
    _head(ctx, _ON_CORPUS if ctx.selection.corpus else _place(ctx, neuron))
    _rank(ctx)
    show_summary(summary_of(ctx, ctx.at, neuron), explained=False)
    explanations_panel(ctx)
    at_large_panel(ctx)
    scores_panel(ctx)
    _choose_texts(ctx)
    if ctx.selection.corpus:
        corpus_panel(ctx)
    else:
        _on_prompts(ctx, neuron)
    read_next(ctx)


def _head(ctx: PageContext, note: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        heading(ctx.at.label, note)
        pin_button(ctx)
        copy_link(ctx)


def _choose_texts(ctx: PageContext) -> None:
    """The choice between the prompts of the run and the records of a corpus."""
    st.session_state["texts"] = _TEXTS[ctx.selection.corpus]
    st.segmented_control(
        "Texts", _TEXTS, key="texts", label_visibility="collapsed", required=True,
        on_change=lambda: ctx.choose(corpus=st.session_state["texts"] == _TEXTS[1]),
    )  # fmt: skip


def _on_prompts(ctx: PageContext, neuron: NeuronOnRun) -> None:
    index = ctx.selection.prompt
    colouring, options = first_prompts(ctx, neuron, evidence_of(ctx))
    _numbers(neuron.stats(index), neuron)
    left, right = st.columns(2)
    with left:
        _curves(ctx, neuron)
    with right:
        _histogram(ctx, neuron)
    left, right = st.columns(2)
    with left:
        write_panel(ctx)
        signature_hint(ctx)
    with right:
        st.markdown("#### Tokens of this prompt")
        with st.expander("Table"):
            tokens = neuron.token_frame(index)
            table(tokens, "neuron_tokens", help=_TOKEN_HELP, height=min(38 + 35 * len(tokens), 420))
    all_prompts(ctx, neuron, colouring, options)


def _place(ctx: PageContext, neuron: NeuronOnRun) -> str:
    """The selected prompt with its prediction; prompts are numbered from 0."""
    index = ctx.selection.prompt
    predicted = cached_reads.predictions_of(ctx.run, ctx.data_key, ctx.results_key)[index]
    return f"on prompt {index}/{len(neuron.prompts) - 1}, {ctx.prompt.probe_id} {predicted}"


def _rank(ctx: PageContext) -> None:
    """Show the neuron's rank in the selected list."""
    ref = ctx.listed
    if ref is None or ctx.selection.row is None:
        return
    with contextlib.suppress(ProjectError):  # the sidebar reports the error
        ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
        if ctx.selection.row < len(ranked):
            rank, where = rank_fact(ranked, ranked.row(ctx.selection.row))
            small(f"{rank} {where}")


def _numbers(stats: Stats, neuron: NeuronOnRun) -> None:
    st.markdown("#### Statistics")
    facts([
        ("on this prompt", _sentence(stats)),
        ("over the run", _sentence(neuron.over_run, positions=False)),
    ])  # fmt: skip


def _sentence(s: Stats, *, positions: bool = True) -> str:
    if s.max is None or s.min is None:
        return f"no finite value ({s.n_nonfinite} not finite)" if s.n_nonfinite else "no included token"
    at_max, at_min = (f" at {s.max_pos}", f" at {s.min_pos}") if positions else ("", "")
    bad = f", {s.n_nonfinite} not finite" if s.n_nonfinite else ""
    return f"max {s.max:+.4g}{at_max}, min {s.min:+.4g}{at_min}, mean {s.mean:+.4g}, std {s.std:.4g}{bad}"


def _curves(ctx: PageContext, neuron: NeuronOnRun) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("#### Over tokens", help="The neuron's activation at each token of the prompt.", width="content")
        more = st.popover("Overlay prompts")
    labels = cached_reads.prompt_labels(ctx.run, ctx.data_key, ctx.results_key)
    with more:
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
    st.markdown(
        "#### All tokens of the run",
        help="Number of tokens per interval of activation, on a logarithmic axis. An interval without a bar has none.",
    )
    values = neuron.counted_values()
    finite = values[np.isfinite(values)]
    if not finite.size:
        st.caption("No included token.")
        return
    chart(ctx, histogram(values), "neuron_histogram")
    if float(finite.std()) == 0:
        st.caption("The activation is the same at every token.")
