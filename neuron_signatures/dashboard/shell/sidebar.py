"""The sidebar, the same in every view: run, prompt, list, row and neuron."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell import list_walk
from neuron_signatures.dashboard.shell.list_label import list_label
from neuron_signatures.dashboard.shell.page_context import SELECTION, PageContext
from neuron_signatures.dashboard.shell.state import MANUAL
from neuron_signatures.dashboard.widgets.elements import show_error, small
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.listing import RunSummary
from neuron_signatures.runs.tokens import brief, escape
from neuron_signatures.runs.under_root import is_text
from neuron_signatures.views.coords import parse_neuron
from neuron_signatures.views.filters import parse
from neuron_signatures.views.lists.ranked import RankedList

_PROBLEM = "jump_problem"
_BOUNDS = ("ui_abs", "ui_score_from", "ui_score_to", "ui_act_from", "ui_act_to")
"""Session keys of the bounds, in the order of `Filters`."""
_PROMPT_TEXT = 160
"""Characters of the prompt that the sidebar shows."""
FIND = "ui_find"
"""Session key of the query of the Ranking view."""
_STEPS = (("Prev", -1), ("Next", 1), ("-10", -10), ("+10", 10))


def choose_run(root: Path, summaries: list[RunSummary], wanted: str | None) -> str | None:
    """The run selector; runs that cannot be opened are listed with the reason."""
    names = [s.name for s in summaries if s.status == "complete" and is_text(s.name)]
    if wanted is not None and wanted not in names:
        names.insert(0, wanted)
    with st.sidebar:
        name: str | None = None
        if names:
            if st.session_state.get("run") not in names or wanted != st.session_state.get("run"):
                st.session_state["run"] = wanted if wanted in names else None
            name = st.selectbox(
                "Run", names, key="run", format_func=escape, on_change=_other_run, placeholder="Select a run",
                help="Folders directly under the runs root.",
            )  # fmt: skip
        others = [s for s in summaries if s.status != "complete" or not is_text(s.name)]
        if others:
            with st.expander(f"{len(others)} cannot be opened"):
                for s in others:
                    st.code(
                        f"{escape(s.name)}: {s.status}\n{escape(s.problem)}".strip(), language=None, wrap_lines=True
                    )
    return name


def sidebar(ctx: PageContext) -> None:
    with st.sidebar:
        _prompt(ctx)
        ranked = _list(ctx)
        if ranked is not None:
            _walk(ctx, ranked)
        _neuron(ctx)


def filters() -> list_walk.Filters:
    """The filters set in the sidebar."""
    get = st.session_state.get
    bounds = list_walk.Filters(*map(get, _BOUNDS))
    return replace(bounds, top_k=int(get("ui_top_k") or list_walk.TOP_K), query=query())


def query() -> str:
    """The query of the Ranking view; empty if it is invalid."""
    text = str(st.session_state.get(FIND) or "")
    try:
        parse(text)
    except UsageError:
        return ""
    return text


def _other_run() -> None:
    _clear_filters()
    st.session_state.pop("seen", None)
    now = st.session_state.pop(SELECTION, None)
    name = st.session_state["run"]
    st.query_params.from_dict({"run": name, "view": now.view.value} if now is not None else {"run": name})


def _prompt(ctx: PageContext) -> None:
    if not ctx.has_prompts:
        small("This run holds no prompts.")
        return
    st.session_state["prompt"] = ctx.selection.prompt
    labels = cached_reads.prompt_labels(ctx.run, ctx.data_key, ctx.results_key)
    st.selectbox(
        "Prompt", range(len(labels)), key="prompt", format_func=labels.__getitem__,
        on_change=lambda: ctx.choose(prompt=st.session_state["prompt"]), help="The prompt shown in the views.",
    )  # fmt: skip
    index = ctx.selection.prompt
    predicted = cached_reads.predictions_of(ctx.run, ctx.data_key, ctx.results_key)[index]
    text = brief(ctx.prompt.text)
    small(f"{text if len(text) <= _PROMPT_TEXT else text[:_PROMPT_TEXT] + '…'} {predicted}")


def _list(ctx: PageContext) -> RankedList | None:
    """The list selector; returns the selected list, None for a manual selection or a list that cannot be read."""
    refs = {r.stem: r for r in ctx.lists if not r.problem}
    st.session_state["list"] = ctx.selection.list if ctx.selection.list in refs else MANUAL
    st.selectbox(
        "Selection", [MANUAL, *refs], key="list", on_change=lambda: _other_list(ctx),
        format_func=lambda stem: "manual" if stem == MANUAL else escape(list_label(refs[stem].title)),
        help="The ranked list to step through: influence results (newest first), peaks, signatures.",
    )  # fmt: skip
    ref = refs.get(st.session_state["list"])
    if ref is not None:
        small(ref.title)  # the select box truncates it
    try:
        return None if ref is None else cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    except (UsageError, BadRunError) as e:
        show_error(e)
        return None


def _other_list(ctx: PageContext) -> None:
    _clear_filters()
    stem = st.session_state["list"]
    ctx.choose(list=stem)
    ref = next((r for r in ctx.lists if r.stem == stem), None)
    if ref is None:
        return
    try:
        ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    except (UsageError, BadRunError):
        return  # the sidebar reports the error
    if ranked.prompt_id is not None:  # the scores are for one prompt: select it
        ctx.choose(prompt=next((i for i, p in enumerate(ctx.run.prompts) if p.probe_id == ranked.prompt_id), None))
    _open(ctx, ranked, list_walk.step(list_walk.passing(ranked, list_walk.Filters(), ctx.run), None, 1))


def _open(ctx: PageContext, ranked: RankedList, index: int | None) -> None:
    if index is not None:
        at = ranked.row(index).at
        ctx.choose(layer=at.layer, neuron=at.neuron, list=ranked.ref.stem, row=index)


def _walk(ctx: PageContext, ranked: RankedList) -> None:
    bounds = filters()
    rows = list_walk.passing(ranked, bounds, ctx.run)
    index = list_walk.index_in(rows, ctx.selection.row)
    if len(rows):
        _row_selector(ctx, ranked, rows, index)
        for column, (text, by) in zip([*st.columns(2), *st.columns(2)], _STEPS, strict=True):
            column.button(
                text, key=f"step{by}", width="stretch", on_click=lambda by=by: _open(
                    ctx, ranked, list_walk.step(rows, ctx.selection.row, by)
                ),
            )  # fmt: skip
    else:
        st.info("No row of a stored neuron passes the filters.")
    passed = "" if bounds == replace(list_walk.Filters(), top_k=bounds.top_k) else _pass(len(rows))
    left_out = list_walk.left_out_note(list_walk.n_not_stored(ranked, bounds, ctx.run))
    if passed or left_out:
        st.caption(f"{passed} {left_out}".strip())
    _filters(ranked)


def _pass(n: int) -> str:
    return f"{count_of(n, 'row')} {'passes' if n == 1 else 'pass'} the filters."


def _row_selector(ctx: PageContext, ranked: RankedList, rows: np.ndarray, index: int | None) -> None:
    shown = rows.tolist()
    st.session_state["pick"] = shown[index] if index is not None else None
    st.selectbox(
        "Neuron of the list", shown, key="pick", format_func=lambda i: list_walk.label(ranked.row(i)),
        on_change=lambda: _open(ctx, ranked, st.session_state["pick"]), placeholder="Select a neuron",
        help="Rank, neuron, score, and the token at the scored position or at the peak.",
    )  # fmt: skip


def _filters(ranked: RankedList) -> None:
    word = "influence" if ranked.ref.kind == "influence" else "score"
    with st.expander("Filters"):
        whole_number("Top k", "ui_top_k", low=1, high=list_walk.MOST, default=list_walk.TOP_K, step=50,
                     help="Maximum number of rows within the bounds, in the list's order.")  # fmt: skip
        st.number_input(f"Minimum |{word}|", value=None, key="ui_abs", format="%g", placeholder="any")
        left, right = st.columns(2)
        for key, name in (("score", word.capitalize()), ("act", "Activation")):
            left.number_input(f"{name} from", value=None, key=f"ui_{key}_from", format="%g", placeholder="any")
            right.number_input("to", value=None, key=f"ui_{key}_to", format="%g", placeholder="any")


def _clear_filters() -> None:
    for key in (*_BOUNDS, "ui_top_k", FIND):
        st.session_state.pop(key, None)


def _neuron(ctx: PageContext) -> None:
    left, right = st.columns([1, 1.5])  # a number of five digits beside its buttons
    st.session_state["layer"], st.session_state["neuron"] = ctx.at
    left.selectbox(
        "Layer", ctx.run.layers, key="layer", on_change=lambda: ctx.choose(layer=st.session_state["layer"]),
        help="Layers stored in this run.",
    )  # fmt: skip
    highest = ctx.run.manifest.d_mlp - 1
    with right:
        whole_number("Neuron", "neuron", low=0, high=highest, default=ctx.at.neuron, help=f"0 to {highest}",
                     then=lambda neuron: ctx.choose(neuron=neuron))  # fmt: skip
    st.text_input("Go to", key="jump", on_change=lambda: _jump(ctx), placeholder="L17N5863 or 17/5863",
                  help="A neuron as L17N5863, 17/5863 or MODEL/17/5863.")  # fmt: skip
    problem = st.session_state.pop(_PROBLEM, None)
    if problem:
        st.code(problem, language=None, wrap_lines=True)


def _jump(ctx: PageContext) -> None:
    typed = st.session_state["jump"].strip()
    st.session_state["jump"] = ""
    if not typed:
        return
    try:
        at = parse_neuron(typed, ctx.run)
    except UsageError as e:
        st.session_state[_PROBLEM] = e.line()
    else:
        ctx.choose(layer=at.layer, neuron=at.neuron)
