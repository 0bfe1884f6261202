"""Contrast view: which neurons tell two sets of prompts or positions apart, computed from the run alone."""

from __future__ import annotations

from typing import Any, cast, get_args

import streamlit as st

from neuron_signatures.analysis.contrast.analyze import ContrastConfig, ContrastResult, RankBy, analyze_contrast
from neuron_signatures.analysis.contrast.writing import contrast_warnings
from neuron_signatures.dashboard.contrast.suggestions import Suggestion, suggestions
from neuron_signatures.dashboard.contrast.table import BAR, HELP, contrast_frame, first_rows, found_sentence
from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.data.neuron_stats import Progress
from neuron_signatures.dashboard.data.result_cache import cached_with_bar
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.widgets.elements import facts, show_error, show_lines, small, table
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.coords import NeuronAt

_A, _B, _BY, _BOS = "ui_contrast_a", "ui_contrast_b", "ui_contrast_by", "ui_bos"
_SIDE_HELP = (
    "PROMPTS or PROMPTS@POSITIONS. Prompts: ids, patterns such as probe_1_*, or FIELD=VALUE of the prompts file, with "
    "commas between them. Positions: all, last, a number, token: is (positions with this token), before: is."
)
_BY_HELP = (
    "d: effect size, which finds neurons that differ reliably, also by little; difference: of the means, which finds "
    "strong neurons; auroc: order of the prompts alone."
)


def render(ctx: PageContext) -> None:
    for key, value in ((_A, ""), (_B, ""), (_BY, "difference"), (_BOS, False)):
        st.session_state.setdefault(key, value)
    left, right, by = st.columns([4, 4, 2])
    left.text_input("A", key=_A, placeholder="concepts=capital@token: is", help=_SIDE_HELP)
    right.text_input("B", key=_B, placeholder="what A leaves", help=_SIDE_HELP)
    by.selectbox("Rank by", get_args(RankBy), key=_BY, help=_BY_HELP)
    a, b = str(st.session_state[_A]).lstrip(), str(st.session_state[_B]).lstrip()
    if not a:
        _offer(ctx)
        return
    config = ContrastConfig(
        a, b or None, rank_by=cast(RankBy, st.session_state[_BY]), include_bos=st.session_state[_BOS]
    )
    try:
        result = cached_with_bar(
            "Comparing both sides, layer by layer", lambda show: _compare(ctx, config, show),
            "contrast", ctx.data_key, config, large=True,
        )  # fmt: skip
    except UsageError as e:
        fields = (e.where or "").replace("--a", "A").replace("--b", "B")
        show_error(UsageError(e.what, where=fields, next_step=e.next_step))
        _offer(ctx)
        return
    _answer(ctx, config, result)


def _offer(ctx: PageContext) -> None:
    """Sides to start from, as buttons."""
    st.caption(
        "Is there a neuron that says a capital? Give the prompts or positions where the answer should be yes as A; "
        "B is the others unless you give it. The unit of the test is the prompt."
    )
    found = suggestions(ctx.run)
    if not found:
        small("The prompts of this run have no fields; name prompts by id, for example probe_1_*@last.")
    for i, s in enumerate(found):
        label = f"{s.a}  against  {s.b or 'what it leaves'}"
        st.button(_plain(label), key=f"contrast_try{i}", on_click=_choose, args=(s,))


def _plain(text: str) -> str:
    """Text for a button, which Streamlit reads as Markdown."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~$:=&" else c for c in text)


def _choose(s: Suggestion) -> None:
    st.session_state.update({_A: s.a, _B: s.b, _BY: s.rank_by})


def _answer(ctx: PageContext, config: ContrastConfig, result: ContrastResult) -> None:
    sides = result.sides
    facts([
        *((name, f"{text}: {_n(len(units), 'prompt')}, {_n(sum(len(u.positions) for u in units), 'position')}")
          for name, text, units in (("A", sides.a_text, sides.a), ("B", sides.b_text, sides.b))),
        ("found", found_sentence(result)),
    ])  # fmt: skip
    show_lines("How far to trust it", contrast_warnings(result))
    first = first_rows(result)
    frame = contrast_frame(first, cached_reads.descriptions(ctx.run_dir, ctx.results_key))
    small(f"The first {len(frame)} of {len(result.frame):,} neurons. Click a cell to open the neuron.")
    table(frame, "contrast", help=HELP, height=420, bars={BAR: float(frame[BAR].max() or 0)}, labels={BAR: ""},
          on_row=lambda i: ctx.open_neuron(NeuronAt(int(first["layer"][i]), int(first["neuron"][i]))))  # fmt: skip
    with st.popover("Export"):
        downloads(frame, "contrast", "contrast")
    b = [] if config.b is None else ["--b", config.b]
    bos = ["--include_bos"] if config.include_bos else []
    st.caption("This command stores it in the run:")
    st.code(stage_2(ctx.run_dir, "--mode", "contrast", "--a", config.a, *b, "--rank_by", config.rank_by, *bos),
            language="bash", wrap_lines=True)  # fmt: skip


def _compare(ctx: PageContext, config: ContrastConfig, show: Progress) -> ContrastResult:
    return analyze_contrast(ctx.run, config, progress=lambda unit, total: _Bar(show, total))


class _Bar:
    """Passes the progress of an analysis to the page's bar."""

    def __init__(self, show: Progress, total: int) -> None:
        self._show, self._total, self._done = show, total, 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def advance(self, n: int) -> None:
        self._done += n
        self._show(self._done, self._total)

    skip = advance

    def extend(self, n: int) -> None:
        self._total += n

    def note(self, text: str) -> None: ...


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
