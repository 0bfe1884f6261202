"""Overview: the run, its results, its prompts, the activations on one prompt by layer, and the manifest."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.corpus.summary import corpus_summary
from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.neuron.figures import layers_by_tokens
from neuron_signatures.dashboard.shell import panels
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, facts, quote, table
from neuron_signatures.dashboard.widgets.words import count_of, map_limit_text
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.acts import LayerLine, counted
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.scale import MAP_PERCENTILE, limit_of

if TYPE_CHECKING:
    from jaxtyping import Bool

_MOST_PROMPTS = 1000
_MOST_TOKENS = 400


def render(ctx: PageContext) -> None:
    panels.heading(ctx.selection.run)
    facts(panels.main_facts(ctx.run))
    _stages(ctx)
    corpus_summary(ctx)
    if ctx.has_prompts:
        _prompts(ctx)
        _prompt(ctx)
    with st.expander("Hashes, versions and manifest"):
        facts(panels.technical_facts(ctx.run))
        record = ctx.run.manifest.model_dump(exclude={"prompts"}) | {"format_version": ctx.run.format_version}
        st.code(json.dumps(record, indent=2), language="json", height=300)


def _stages(ctx: PageContext) -> None:
    st.markdown("#### Results")
    done, missing = panels.stage_lines(ctx.run_dir, ctx.lists, ctx.prompt.probe_id if ctx.has_prompts else None)
    if done:
        facts(done)
    for what, command in missing:
        st.caption(f"{what}:")
        st.code(escape(command), language="bash", wrap_lines=True)


def _prompt(ctx: PageContext) -> None:
    st.markdown("#### This prompt, layer by layer")
    predicted = cached_reads.predictions_of(ctx.run, ctx.data_key, ctx.results_key)[ctx.selection.prompt]
    quote(f"{ctx.prompt.text} {predicted}")
    st.session_state.setdefault("ui_bos", False)
    include_bos = st.checkbox("Include the first position (BOS)", key="ui_bos", help=panels.BOS_HELP)
    counts = counted(ctx.run, ctx.prompt, include_bos=include_bos)
    if not counts.any():
        st.caption("This prompt has only its first position, which is excluded.")
        return
    lines = cached_reads.layers_of(ctx.run, ctx.data_key, ctx.selection.prompt, include_bos)
    any_finite = any(line.neuron is not None for line in lines)
    if any_finite:
        _layer_map(ctx, counts)
    else:
        st.caption("No included token has a finite activation.")
    on_row = functools.partial(open_neuron_of_row, ctx, lines) if any_finite else None
    table(layer_frame(lines, ctx.prompt.tokens), "overview_layer_table", help=_LAYER_HELP, on_row=on_row)


def open_neuron_of_row(ctx: PageContext, lines: list[LayerLine], row: int) -> None:
    """Open the layer's neuron; does nothing for a layer without a finite value."""
    neuron = lines[row].neuron
    if neuron is not None:
        ctx.open_neuron(NeuronAt(lines[row].layer, neuron))


def _layer_map(ctx: PageContext, counts: Bool[np.ndarray, " pos"]) -> None:
    peaks = cached_reads.prompt_peaks(ctx.run, ctx.data_key, ctx.selection.prompt)
    n = ctx.prompt.seq_len
    if n > _MOST_TOKENS:
        st.caption(f"The first {_MOST_TOKENS} of {n} tokens.")
    values, neurons = (np.stack([p[i][:_MOST_TOKENS] for p in peaks]) for i in (0, 1))
    limit = limit_of(values[:, counts[:_MOST_TOKENS]], MAP_PERCENTILE)
    st.caption(
        "Activation of the neuron with the largest |act|, per layer and token. Click a cell to open the neuron. "
        + map_limit_text(limit, "cell")
    )
    figure = layers_by_tokens(
        values, neurons, ctx.run.layers, ctx.prompt.tokens[:_MOST_TOKENS], counts[:_MOST_TOKENS], limit
    )  # fmt: skip
    chart(ctx, figure, "overview_layers", opens=View.NEURON)


def _prompts(ctx: PageContext) -> None:
    st.markdown("#### Prompts")
    n = len(ctx.run.prompts)
    if n > _MOST_PROMPTS:
        st.caption(f"The first {_MOST_PROMPTS} of {n}.")
    shown = ctx.run.prompts[:_MOST_PROMPTS]
    predicted = cached_reads.predictions_of(ctx.run, ctx.data_key, ctx.results_key)[:_MOST_PROMPTS]
    frame = pd.DataFrame(
        {
            "number": range(len(shown)),
            "prompt": [brief(p.probe_id) for p in shown],
            "prediction": predicted,
            "text": [brief(p.text) for p in shown],
            "tokens": [p.seq_len for p in shown],
            "not finite": [p.nonfinite for p in shown],
        }
    )
    frame = frame.drop(columns=[c for c in ("prediction", "not finite") if not frame[c].astype(bool).any()])
    table(frame, "overview_prompts", on_row=lambda i: ctx.choose(prompt=i, view=View.NEURON), help=_PROMPT_HELP,
          widths={"prediction": 150},
          height=min(38 + 35 * len(shown), 420))  # fmt: skip
    failed = ctx.run.manifest.failed_prompts
    if failed:
        first = failed[:_MOST_PROMPTS]
        which = f"; the first {_MOST_PROMPTS}" if len(failed) > len(first) else ""
        st.caption(f"{count_of(len(failed), 'prompt')} without activations in this run{which}:")
        st.dataframe(
            pd.DataFrame({"prompt": [brief(f.prompt_id) for f in first], "why": [brief(f.reason) for f in first]}),
            hide_index=True,
        )


def layer_frame(lines: list[LayerLine], tokens: Sequence[str]) -> pd.DataFrame:
    """One row per layer; undefined numbers are empty. `tokens` (raw) are the prompt's."""
    frame = pd.DataFrame(
        {
            "layer": [line.layer for line in lines],
            "mean": [line.mean for line in lines],
            "std": [line.std for line in lines],
            "min": [line.min for line in lines],
            "max": [line.max for line in lines],
            "mean |act|": [line.mean_abs for line in lines],
            "largest |act|": [line.max_abs for line in lines],
            "neuron": ["" if line.neuron is None else f"L{line.layer}N{line.neuron}" for line in lines],
            "position": pd.array([line.pos for line in lines], dtype="Int64"),
            "token": ["" if line.pos is None else visible(tokens[line.pos]) for line in lines],
            "not finite": [line.n_nonfinite for line in lines],
        }
    )
    return frame if frame["not finite"].any() else frame.drop(columns="not finite")


_PROMPT_HELP = {
    "number": "Number of the prompt in the run, from 0.",
    "prediction": "What the model predicted after the prompt, as recorded by an influence result.",
    "tokens": "Number of tokens.",
    "not finite": "Number of NaN or infinite activations.",
}
_LAYER_HELP = {
    "mean": "Mean over all neurons and included tokens.",
    "std": "Population standard deviation over neurons and tokens.",
    "mean |act|": "Mean of the absolute value.",
    "largest |act|": "Largest |act| over all neurons and included tokens.",
    "neuron": "The neuron with the largest |act|; click a cell of the row to open it.",
    "position": "Position of this |act| in the prompt, from 0.",
    "token": "The token at this position.",
    "not finite": "Number of NaN or infinite values, which are excluded.",
}
