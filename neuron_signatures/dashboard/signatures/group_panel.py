"""Groups of poles with the same name, and their peaks on the prompts."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.signatures.data import MOST_PROMPTS, Group, Pole, peaks_on_pole, read_groups, strongest
from neuron_signatures.dashboard.signatures.figures import members_by_prompts
from neuron_signatures.dashboard.widgets.elements import chart
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.acts import counted

_MOST_MEMBERS = 24


def group_panel(ctx: PageContext) -> None:
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
    prompts = ctx.run.prompts[:MOST_PROMPTS]
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
    prompts = ctx.run.prompts[:MOST_PROMPTS]
    counts = [counted(ctx.run, p, include_bos=False) for p in prompts]
    peaks, tokens = [], []
    for m in members:
        values = cached_reads.first_values_of(ctx.run, ctx.data_key, m.at.layer, m.at.neuron, len(prompts))
        heights, positions = peaks_on_pole(values, counts, m.pole)
        peaks.append(heights)
        tokens.append([p.tokens[i] if i >= 0 else "" for p, i in zip(prompts, positions.tolist(), strict=True)])
    return np.stack(peaks), tokens
