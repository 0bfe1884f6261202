"""Signatures view: classes of neurons by their peaks, compared with shuffled tokens; groups; peaks on prompts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.list_walk import left_out_note, stored
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.signatures.data import (
    Classes,
    Group,
    Pole,
    SignatureFilter,
    matching,
    peaks_on_pole,
    read_classes,
    read_groups,
    strongest,
)
from neuron_signatures.dashboard.signatures.figures import class_bars, members_by_prompts, probe_bars
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, table
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import escape, visible
from neuron_signatures.views.acts import counted
from neuron_signatures.views.coords import NeuronAt

_MOST_ROWS = 300
_MOST_MEMBERS = 24
_MOST_PROMPTS = 100
_POLES = {"both": "", "+": "+", "-": "-"}


def render(ctx: PageContext) -> None:
    try:
        classes = read_classes(ctx.run_dir)
    except UsageError:
        empty("Signatures have not been computed yet (no model needed):", stage_2(ctx.run_dir, "--mode", "signatures"))
        _probes(ctx)
        return
    _classes(classes)
    _table(ctx, classes)
    _groups(ctx)
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


def _table(ctx: PageContext, classes: Classes) -> None:
    st.markdown("#### Neurons")
    every = cached_reads.signature_table(ctx.run_dir, ctx.results_key)
    wanted = _filter(ctx, classes)
    passed = matching(every, wanted)
    rows = passed.filter(stored(ctx.run, passed["layer"].to_numpy(), passed["neuron"].to_numpy()))
    n = rows.num_rows
    limit = f"; the {_MOST_ROWS} largest peaks are shown" if n > _MOST_ROWS else ""
    st.caption(f"{n} of {every.num_rows} rows{limit}. {left_out_note(passed.num_rows - n)}")
    if n == 0:
        st.info("No row passes the filters.")
        return
    shown = rows.slice(0, _MOST_ROWS).to_pylist()
    frame = signature_frame(shown)
    neurons = [NeuronAt(r["layer"], r["neuron"]) for r in shown]
    table(ctx, frame, "sig_table", neurons=neurons, help=_COLUMN_HELP, height=380)
    with st.popover("Export"):
        downloads(frame, "signatures", "sig")


def _filter(ctx: PageContext, classes: Classes) -> SignatureFilter:
    st.session_state.setdefault(
        "ui_sig_class", [c for c in classes.names if c in ("semantic", "say_x", "relationship")]
    )
    st.session_state["ui_sig_class"] = [c for c in st.session_state["ui_sig_class"] if c in classes.names]
    st.session_state["ui_sig_layers"] = [n for n in st.session_state.get("ui_sig_layers", []) if n in ctx.run.layers]
    st.session_state.setdefault("ui_sig_pole", "both")
    columns = st.columns([3, 2, 1.4, 2], vertical_alignment="bottom")
    chosen = columns[0].multiselect("Class", classes.names, key="ui_sig_class", placeholder="all", format_func=escape)
    layers = columns[1].multiselect("Layers", ctx.run.layers, key="ui_sig_layers", placeholder="all")
    pole = columns[2].selectbox("Pole", list(_POLES), key="ui_sig_pole", help="The sign of the activations.")
    text = columns[3].text_input("Name or token", key="ui_sig_text", placeholder="part of it")
    return SignatureFilter(tuple(chosen), tuple(layers), _POLES[pole], text.strip())


def signature_frame(rows: list[dict]) -> pd.DataFrame:
    """Rows of the signature table for display."""
    frame = pd.DataFrame(
        {
            "neuron": [f"L{r['layer']}N{r['neuron']}{r['pole']}" for r in rows],
            "class": [escape(r["class"]) for r in rows],
            "name": [visible(r["name"] or "") for r in rows],
            "peak token": [visible(r["mode_peak_token"] or "") for r in rows],
            "consistency": [r["main_consistency"] for r in rows],
            "from": [r["main_consistency_low"] for r in rows],
            "to": [r["main_consistency_high"] for r in rows],
            "active in": [r["n_active"] for r in rows],
            "largest peak": [r["max_peak"] for r in rows],
            "functional": [r["func_vs_sem"] for r in rows],
            "seed cosine": [r["seed_cosine"] for r in rows],
        }
    )
    numbers = ["consistency", "from", "to", "largest peak", "functional", "seed cosine"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _groups(ctx: PageContext) -> None:
    st.markdown("#### Groups", help="Poles with the same name.")
    groups = read_groups(ctx.run_dir)
    if not groups:
        st.caption("No two poles have the same name.")
        return
    named = {(g.cls, g.name): g for g in reversed(groups)}
    options = [(g.cls, g.name) for g in groups]
    chosen = st.selectbox(
        "Group", options, key="ui_sig_group", label_visibility="collapsed",
        format_func=lambda k: f"{visible(k[1])}  ({visible(k[0])}, {len(named[k].members)} poles)",
    )  # fmt: skip
    group = named[chosen]
    shown = strongest(cached_reads.signature_table(ctx.run_dir, ctx.results_key), group, ctx.run.stores, _MOST_MEMBERS)
    prompts = ctx.run.prompts[:_MOST_PROMPTS]
    st.caption(_bounds(group, shown, len(prompts), len(ctx.run.prompts)))
    if not shown:
        return
    peaks, tokens = _peaks(ctx, shown)
    chart(ctx, members_by_prompts(peaks, shown, [p.probe_id for p in prompts], tokens), "sig_group")
    names = [m.label for m in shown]
    st.pills(
        "Open", names, key="sig_open", label_visibility="collapsed",
        on_change=lambda: _open_member(ctx, dict(zip(names, shown, strict=True))),
    )  # fmt: skip


def _bounds(group: Group, shown: list[Pole], n_prompts: int, of_prompts: int) -> str:
    n = len(group.members)
    members = f"The {len(shown)} of {n} members with the largest peaks" if len(shown) < n else "All members"
    prompts = f"the first {n_prompts} of {of_prompts} prompts" if n_prompts < of_prompts else "all prompts"
    return f"{members} on {prompts}: peak activation on the member's pole. Click a name below the figure to open it."


def _open_member(ctx: PageContext, members: dict[str, Pole]) -> None:
    chosen = members.get(st.session_state.get("sig_open") or "")
    st.session_state["sig_open"] = None
    if chosen is not None:
        ctx.choose(layer=chosen.at.layer, neuron=chosen.at.neuron)


def _peaks(ctx: PageContext, members: list[Pole]) -> tuple[np.ndarray, list[list[str]]]:
    prompts = ctx.run.prompts[:_MOST_PROMPTS]
    counts = [counted(ctx.run, p, include_bos=False) for p in prompts]
    peaks, tokens = [], []
    for m in members:
        values = cached_reads.first_values_of(ctx.run, ctx.data_key, m.at.layer, m.at.neuron, len(prompts))
        heights, positions = peaks_on_pole(values, counts, m.pole)
        peaks.append(heights)
        tokens.append([p.tokens[i] if i >= 0 else "" for p, i in zip(prompts, positions.tolist(), strict=True)])
    return np.stack(peaks), tokens


def _probes(ctx: PageContext) -> None:
    st.markdown(
        f"#### {ctx.at.label} on the prompts",
        help="The selected neuron's largest and smallest activation on each prompt, without the BOS.",
    )
    values = cached_reads.values_of(ctx.run, ctx.data_key, ctx.at.layer, ctx.at.neuron)
    prompts = ctx.run.prompts[:_MOST_PROMPTS]
    if len(prompts) < len(ctx.run.prompts):
        st.caption(f"The first {len(prompts)} of {len(ctx.run.prompts)} prompts.")
    counts = [counted(ctx.run, p, include_bos=False) for p in prompts]
    high, high_at = peaks_on_pole(values[: len(prompts)], counts, "+")
    low, low_at = peaks_on_pole(values[: len(prompts)], counts, "-")
    names, tokens = [p.probe_id for p in prompts], [p.tokens for p in prompts]
    chart(ctx, probe_bars(high, high_at, -low, low_at, names, tokens), "sig_probes")


_COLUMN_HELP = {
    "consistency": "Share of the active prompts whose peak is on the most frequent peak token; `from` and `to` are the "
    "95 % Wilson interval.",
    "from": "Lower end of the interval.",
    "to": "Upper end of the interval.",
    "active in": "Prompts whose peak is at least half of the largest peak.",
    "functional": "Share of the peaks on functional tokens (of, is, the, ...).",
    "seed cosine": "Cosine similarity with the activations on the seed prompt, over shared tokens.",
    "largest peak": "Largest activation with the pole's sign.",
}
