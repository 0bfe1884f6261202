"""Signatures view: classes of neurons by their peaks, compared with shuffled tokens; groups; peaks on prompts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.signatures.data import MOST_PROMPTS, Classes, peaks_on_pole, read_classes
from neuron_signatures.dashboard.signatures.figures import class_bars, probe_bars
from neuron_signatures.dashboard.signatures.group_panel import group_panel
from neuron_signatures.dashboard.signatures.table_panel import table_panel
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.acts import counted


def render(ctx: PageContext) -> None:
    try:
        classes = read_classes(ctx.run_dir)
    except UsageError:
        empty("Signatures have not been computed yet (no model needed):", stage_2(ctx.run_dir, "--mode", "signatures"))
        _probes(ctx)
        return
    _classes(classes)
    table_panel(ctx, classes)
    group_panel(ctx)
    _probes(ctx)


def _classes(classes: Classes) -> None:
    st.markdown(
        "#### Classes",
        help="Each neuron has two poles, one per sign. A class is meaningful only if it has many more poles than with "
        "shuffled tokens. docs/method.md defines the classes.",
    )
    left, right = st.columns([3, 2])
    with left:
        st.plotly_chart(class_bars(classes), key="sig_classes", config={"displayModeBar": False})
    with right:
        st.dataframe(class_frame(classes), hide_index=True)
        if classes.limit:
            facts([("note", classes.limit)])


def class_frame(c: Classes) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class": [escape(n) for n in c.names],
            "poles": c.counts,
            "tokens shuffled": pd.array(c.shuffled, dtype="Int64"),
        }
    )


def _probes(ctx: PageContext) -> None:
    st.markdown(
        f"#### {ctx.at.label} on the prompts",
        help="The selected neuron's largest and smallest activation on each prompt, without the BOS.",
    )
    values = cached_reads.values_of(ctx.run, ctx.data_key, ctx.at.layer, ctx.at.neuron)
    prompts = ctx.run.prompts[:MOST_PROMPTS]
    if len(prompts) < len(ctx.run.prompts):
        st.caption(f"The first {len(prompts)} of {len(ctx.run.prompts)} prompts.")
    counts = [counted(ctx.run, p, include_bos=False) for p in prompts]
    high, high_at = peaks_on_pole(values[: len(prompts)], counts, "+")
    low, low_at = peaks_on_pole(values[: len(prompts)], counts, "-")
    names, tokens = [p.probe_id for p in prompts], [p.tokens for p in prompts]
    chart(ctx, probe_bars(high, high_at, -low, low_at, names, tokens), "sig_probes")
