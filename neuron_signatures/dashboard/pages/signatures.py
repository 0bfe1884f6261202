"""Signatures view: classes of neurons by their peaks, compared with two nulls; groups; peaks on prompts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.signatures.data import MOST_PROMPTS, Group, Pole, peaks_on_pole, read_groups, strongest
from neuron_signatures.dashboard.signatures.figures import class_bars, members_by_prompts, probe_bars
from neuron_signatures.dashboard.signatures.table_panel import table_panel
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts
from neuron_signatures.dashboard.widgets.words import count_of, map_limit_text
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.result_records import NullClass, NullRecord, SignaturesRecord, read_record
from neuron_signatures.runs.results import SIGNATURES_META
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.scale import MAP_PERCENTILE, limit_of

_MOST_MEMBERS = 24
MOST_CLASSES, MOST_GROUPS = 40, 1000
"""Classes and groups that can be chosen; stage 2 writes six classes."""


def render(ctx: PageContext) -> None:
    try:
        record = read_record(ctx.run_dir, SIGNATURES_META, SignaturesRecord)
    except UsageError:
        empty("Signatures have not been computed yet (no model needed):", stage_2(ctx.run_dir, "--mode", "signatures"))
        _probes(ctx)
        return
    _classes(record.class_counts, record.null or NullRecord())
    table_panel(ctx, list(_first_classes(record.class_counts)))
    _groups(ctx)
    _probes(ctx)


def _classes(counts: dict[str, int], null: NullRecord) -> None:
    st.markdown(
        "#### Classes",
        help="Each neuron has two poles, one per sign. A class is meaningful only if it has many more poles than with "
        "the tokens of other prompts at the same positions: precision is the share that these do not explain. "
        "docs/method.md defines the classes.",
    )
    if len(counts) > MOST_CLASSES:
        st.caption(f"The first {MOST_CLASSES} of {len(counts)} classes.")
    counts = _first_classes(counts)
    left, right = st.columns(2)
    with left:
        st.plotly_chart(class_bars(counts, _means(null)), key="sig_classes", config={"displayModeBar": False})
    with right:
        st.dataframe(class_frame(counts, null), hide_index=True)
        if null.limit:
            facts([("note", null.limit)])


def _first_classes(counts: dict[str, int]) -> dict[str, int]:
    return dict(list(counts.items())[:MOST_CLASSES])


def class_frame(counts: dict[str, int], null: NullRecord) -> pd.DataFrame:
    other = [null.other_prompts.classes.get(name) for name in counts]
    return pd.DataFrame(
        {
            "class": [brief(name) for name in counts],
            "poles": list(counts.values()),
            "shuffled": [_spread(null.shuffled.classes.get(name)) for name in counts],
            "other prompts": [_spread(n) for n in other],
            "precision": ["" if n is None or n.precision is None else f"{n.precision:.2f}" for n in other],
        }
    )


def _means(null: NullRecord) -> dict[str, dict[str, float | None]]:
    draws = {"tokens shuffled": null.shuffled, "tokens of other prompts": null.other_prompts}
    return {what: {name: n.mean for name, n in d.classes.items()} for what, d in draws.items() if d.classes}


def _spread(n: NullClass | None) -> str:
    return "" if n is None or n.mean is None else f"{n.mean:.1f} ({n.low} to {n.high})"


def _groups(ctx: PageContext) -> None:
    st.markdown("#### Groups", help="Poles with the same name.")
    groups = read_groups(ctx.run_dir)
    if not groups:
        st.caption("No two poles have the same name.")
        return
    if len(groups) > MOST_GROUPS:
        st.caption(f"The {MOST_GROUPS} largest of {len(groups)} groups.")
    groups = groups[:MOST_GROUPS]
    named = {(g.cls, g.name): g for g in reversed(groups)}
    options = [(g.cls, g.name) for g in groups]
    chosen = st.selectbox(
        "Group", options, key="ui_sig_group", label_visibility="collapsed",
        format_func=lambda k: f"{visible(k[1])}  ({visible(k[0])}, {named[k].size})",
    )  # fmt: skip
    group = named[chosen]
    shown = strongest(cached_reads.signature_table(ctx.run_dir, ctx.results_key), group, ctx.run.stores, _MOST_MEMBERS)
    prompts = ctx.run.prompts[:MOST_PROMPTS]
    st.caption(_bounds(group, shown, len(prompts), len(ctx.run.prompts)))
    if not shown:
        return
    peaks, positions = zip(*(_peaks_on_prompts(ctx, m) for m in shown), strict=True)
    tokens = [[p.tokens[i] if i >= 0 else "" for p, i in zip(prompts, at, strict=True)] for at in positions]
    sizes = np.clip(np.stack(peaks), 0, None)
    limit = limit_of(sizes, MAP_PERCENTILE)
    chart(ctx, members_by_prompts(sizes, shown, [p.probe_id for p in prompts], tokens, limit), "sig_group")
    st.caption(map_limit_text(limit, "cell", "marked with a diamond"))
    members = {m.label: m for m in shown}
    st.pills(
        "Open", list(members), key="sig_open", label_visibility="collapsed",
        on_change=lambda: _open_member(ctx, members),
    )  # fmt: skip


def _bounds(group: Group, shown: list[Pole], n_prompts: int, of_prompts: int) -> str:
    n = len(group.members)
    members = f"The {len(shown)} of {n} members with the largest peaks" if len(shown) < n else "All members"
    prompts = f"the first {n_prompts} of {count_of(of_prompts, 'prompt')}" if n_prompts < of_prompts else "all prompts"
    return f"{members} on {prompts}: peak activation on the member's pole. Click a name below the figure to open it."


def _open_member(ctx: PageContext, members: dict[str, Pole]) -> None:
    chosen = members.get(st.session_state.get("sig_open") or "")
    st.session_state["sig_open"] = None
    if chosen is not None:
        ctx.choose(layer=chosen.at.layer, neuron=chosen.at.neuron)


def _peaks_on_prompts(ctx: PageContext, pole: Pole) -> tuple[np.ndarray, np.ndarray]:
    """As `peaks_on_pole`, on the prompts that the figures show, without the first position."""
    n = min(len(ctx.run.prompts), MOST_PROMPTS)
    values = cached_reads.first_values_of(ctx.run, ctx.data_key, pole.at.layer, pole.at.neuron, n)
    return peaks_on_pole(values, cached_reads.counts_of(ctx.run, ctx.data_key, False)[:n], pole.pole)


def _probes(ctx: PageContext) -> None:
    st.markdown(
        f"#### {ctx.at.label} on the prompts",
        help="The selected neuron's largest and, hatched, smallest activation on each prompt, without the first "
        "position.",
    )
    prompts = ctx.run.prompts[:MOST_PROMPTS]
    if len(prompts) < len(ctx.run.prompts):
        st.caption(f"The first {len(prompts)} of {count_of(len(ctx.run.prompts), 'prompt')}.")
    high, high_at = _peaks_on_prompts(ctx, Pole(ctx.at, "+"))
    low, low_at = _peaks_on_prompts(ctx, Pole(ctx.at, "-"))
    names, tokens = [p.probe_id for p in prompts], [p.tokens for p in prompts]
    chart(ctx, probe_bars(high, high_at, -low, low_at, names, tokens), "sig_probes")
