"""The Neuron view on a corpus: strongest windows of both poles, examples, histogram, look-up table, moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import streamlit as st

from neuron_signatures.dashboard.corpus.figures import MEASURE_HELP, MEASURES, Measure, corpus_histogram
from neuron_signatures.dashboard.corpus.passage_html import colour_key, passages_html
from neuron_signatures.dashboard.corpus.tables import LOOKUP_HELP, lookup_frame, moment_facts, passage_frame
from neuron_signatures.dashboard.data import cached_records
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.neuron.colouring import Colouring
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, document
from neuron_signatures.dashboard.neuron.heatmap_panel import (
    chosen_corpus_colouring,
    default_settings,
    opacity_controls,
    say_always_on,
    show_switch,
)
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_error, small, table
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.names import PARTS, POLES, Part, Pole
from neuron_signatures.views.records.about import PART_HELP
from neuron_signatures.views.records.commands import MOST_NAMED, has_records, keep_command, records_command
from neuron_signatures.views.records.evidence import Evidence, IntervalRow, PoleEvidence, SampleEvidence
from neuron_signatures.views.records.passages import Passage
from neuron_signatures.views.scale import ScaleOf

_FIRST, _MORE = 10, 20
"""Passages of a pole that are shown, and how many a button adds."""
_DEFAULTS = {
    "ui_corpus_parts": list(PARTS), "ui_corpus_text": "short", "ui_corpus_scale": "records", "ui_corpus_n": _FIRST,
    "ui_corpus_measure": MEASURES[0], "ui_corpus_seed": 0,
}  # fmt: skip
_SCALE_NAMES: dict[ScaleOf, str] = {"records": "the corpus", "prompt": "each window"}
_LOOKUP_HELP = "The mean activation at each token that occurs at least twice in the sampled windows."
_POLE_NAMES: dict[Pole, str] = {"+": "+ largest", "-": "- smallest"}


class _Shown(NamedTuple):
    """How windows are drawn."""

    colouring: Colouring
    options: HeatmapOptions
    full: bool

    def html(self, passages: Sequence[Passage], title: str = "") -> str:
        return passages_html(passages, self.colouring, self.options, full=self.full, title=title)


def corpus_panel(ctx: PageContext) -> None:
    """Draw the neuron on the corpus, or what is missing."""
    if not has_records(ctx.run_dir):
        empty(
            "This run has no records of a corpus yet. This command reads text that every machine has, and finds where "
            "each neuron is strongest:",
            records_command(ctx.run_dir),
        )
        return
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)
    default_settings()
    try:
        _panel(ctx)
    except (BadRunError, UsageError) as e:
        show_error(e)


def evidence_of(ctx: PageContext) -> Evidence | None:
    """The evidence over all parts; None if there is none, or it cannot be read (which the panel reports)."""
    try:
        found: Evidence | None = cached_records.evidence_at(ctx.run_dir, ctx.results_key, ctx.at, PARTS)
    except (BadRunError, UsageError):
        return None
    return found


def _panel(ctx: PageContext) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        parts = _part_filter()
        bar = st.container(horizontal=True, width="content", vertical_alignment="center")
    if not parts:
        st.info("Select at least one part of the corpus.")
        return
    found = cached_records.evidence_at(ctx.run_dir, ctx.results_key, ctx.at, parts)
    if found is None:
        layers = spans(cached_records.layers_of(ctx.run_dir, ctx.results_key))
        empty(f"The records do not hold {ctx.at.label}: they are of layers {layers}.")
        return
    kept = cached_records.sample_at(
        ctx.run_dir, ctx.results_key, ctx.at, parts, int(st.session_state["ui_corpus_seed"])
    )
    colouring = chosen_corpus_colouring(found)
    with bar:
        show_switch(colouring)
        _text_switch()
        with st.popover("Display"):
            options = _controls()
        exports = st.popover("Export")
    shown = _Shown(colouring, options, st.session_state["ui_corpus_text"] == "full")
    if found.state_text:
        st.info(found.state_text)
    if any(p.strongest for p in found.poles):
        st.html(colour_key(colouring, options))
        say_always_on(ctx, colouring)
        _strongest(ctx, found, kept, shown)
    _numbers(ctx, found, kept)
    if kept is not None:
        _intervals(ctx, found, kept, shown)
        _random(kept, shown)
    with exports:
        _exports(ctx, found, shown)


def _part_filter() -> tuple[Part, ...]:
    chosen = st.segmented_control(
        "Parts of the corpus", PARTS, key="ui_corpus_parts", selection_mode="multi", help=PART_HELP,
        label_visibility="collapsed",
    )  # fmt: skip
    return tuple(part for part in PARTS if part in chosen)


def _text_switch() -> None:
    st.segmented_control(
        "Text", ("short", "full"), key="ui_corpus_text", label_visibility="collapsed", required=True,
        help="Twelve tokens on each side of the peak, or the whole window. A click on a text opens or closes it alone.",
    )  # fmt: skip


def _controls() -> HeatmapOptions:
    now = st.session_state
    st.checkbox("Show values", key="ui_values", help="The signed value behind each token.")
    decimals = whole_number("Decimals", "ui_decimals", low=0, high=6, default=2, disabled=not now["ui_values"])
    st.segmented_control(
        "One colour scale for", list(_SCALE_NAMES), key="ui_corpus_scale", required=True,
        format_func=_SCALE_NAMES.__getitem__,
        help="The corpus: the full colour is the neuron's largest value over the whole corpus. Each window: it is the "
        "window's own.",
    )  # fmt: skip
    opacity_controls()
    return HeatmapOptions(
        decimals=decimals if now["ui_values"] else None, normalise=now["ui_corpus_scale"], scale=now["ui_scale"],
        threshold=now["ui_threshold"], floor=now["ui_floor"],
    )  # fmt: skip


def _strongest(ctx: PageContext, found: Evidence, kept: SampleEvidence | None, shown: _Shown) -> None:
    if kept is None:
        _not_kept(ctx)
    n = int(st.session_state["ui_corpus_n"])
    first = POLES if found.first_pole == "+" else POLES[::-1]
    for column, pole in zip(st.container(key="corpus_poles").columns(2, gap="medium"), first, strict=True):
        with column:
            _pole(found.pole(pole), n, shown)
    if any(len(p.strongest) > n for p in found.poles):
        st.button("Show more", key="corpus_more", on_click=_show_more)


def _not_kept(ctx: PageContext) -> None:
    """Why only the peaks are coloured, and the command that keeps the neuron."""
    others = cached_records.kept_neurons(ctx.run_dir, ctx.results_key)
    lost = "" if len(others) < MOST_NAMED else f", in place of those of the {len(others):,} neurons that are kept now"
    st.caption(
        "Pass 2 did not keep this neuron: only the activation at the peak of each window is stored, and only that "
        f"token is coloured. This command keeps all its activations{lost}:"
    )
    st.code(keep_command(ctx.run_dir, ctx.at, others), language="bash", wrap_lines=True)


def _pole(found: PoleEvidence, n: int, shown: _Shown) -> None:
    st.markdown(f"#### Strongest at {found.pole}")
    if not found.strongest:
        st.caption(f"No activation is {'positive' if found.pole == '+' else 'negative'}.")
        return
    if not found.has_sign:
        side = "positive; these are the largest" if found.pole == "+" else "negative; these are the smallest"
        st.caption(f"No activation is {side}.")
    elif found.often.tokens:
        small(f"most often on {found.often.text_with_share()}")
    st.html(shown.html(found.strongest[:n]))
    folded = found.n_windows - len(found.strongest)
    equal = f"; {count_of(folded, 'window')} with the same text as another folded into it" if folded else ""
    small(f"{min(n, len(found.strongest))} of {count_of(len(found.strongest), 'passage')}{equal}")


def _numbers(ctx: PageContext, found: Evidence, kept: SampleEvidence | None) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("#### Activations", help=MEASURE_HELP, width="content")
            measure = st.segmented_control(
                "Measure", MEASURES, key="ui_corpus_measure", label_visibility="collapsed", required=True
            )
        if found.distribution.n:
            chart(ctx, corpus_histogram(found.distribution, cast(Measure, measure)), "corpus_histogram")
            small(f"{count_of(found.distribution.n, 'token')} of a fixed share of the windows; the intervals are "
                  "narrow around 0")  # fmt: skip
        else:
            st.caption("The histogram holds no token of these parts.")
        facts(moment_facts(found))
    with right:
        _lookup(ctx, found, kept)


def _lookup(ctx: PageContext, found: Evidence, kept: SampleEvidence | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("#### Mean by token", help=_LOOKUP_HELP, width="content")
        pole = _pole_switch(ctx, found, "lookup")
    if kept is None:
        empty("The mean by token needs all activations of the neuron, which pass 2 did not keep.")
    elif not kept.lookup:
        st.caption("No token occurs twice in the sampled windows of these parts.")
    else:
        frame = lookup_frame(kept.lookup, pole)
        formats = dict.fromkeys(("mean", "largest", "smallest"), "%.3g")
        table(frame, f"corpus_lookup_{pole}", help=LOOKUP_HELP, height=420, formats=formats)
        small(f"{len(frame):,} of {count_of(len(kept.lookup), 'token')}, {_order(pole)} mean first")


def _order(pole: Pole) -> str:
    return "the highest" if pole == "+" else "the lowest"


def _pole_switch(ctx: PageContext, found: Evidence, what: str) -> Pole:
    key = f"corpus_pole_{what}_{ctx.at.label}"
    st.session_state.setdefault(key, found.first_pole)
    chosen: Pole = st.segmented_control(
        "Pole", POLES, key=key, format_func=_POLE_NAMES.__getitem__, label_visibility="collapsed", required=True
    )  # fmt: skip
    return chosen


def _intervals(ctx: PageContext, found: Evidence, kept: SampleEvidence, shown: _Shown) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            "#### Examples by interval", width="content",
            help="Windows by their peak, in intervals of equal width from 0 to the largest peak; of each interval some "
            "at random. Candidates are the sampled windows and the strongest ones.",
        )  # fmt: skip
        pole = _pole_switch(ctx, found, "intervals")
    rows = kept.intervals[pole]
    if not rows:
        st.caption("No window of these parts has a peak of this sign.")
        return
    blocks = [shown.html(row.passages, f"{row.low:.3g} to {row.high:.3g}: {_in_interval(row)}") for row in rows]
    st.html("".join(blocks))


def _in_interval(row: IntervalRow) -> str:
    return f"{row.n or 'none'} of the sampled windows" + ("" if row.n or not row.passages else ", but strongest ones")


def _random(kept: SampleEvidence, shown: _Shown) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("#### Random windows", width="content",
                    help="Windows of the sample at random, with their largest |activation|.")  # fmt: skip
        st.button("Others", key="corpus_others", on_click=_others)
    if not kept.random:
        st.caption("The sample has no window of these parts.")
        return
    st.html(shown.html(kept.random))


def _exports(ctx: PageContext, found: Evidence, shown: _Shown) -> None:
    name = f"{ctx.at.label}_corpus"
    st.download_button(
        "Strongest windows (HTML)", lambda: _document(ctx, found, shown), f"{name}.html", "text/html",
        key="corpus_html", on_click="ignore", help="A standalone file without scripts or external resources.",
    )  # fmt: skip
    downloads(passage_frame(found), name, "corpus")


def _document(ctx: PageContext, found: Evidence, shown: _Shown) -> str:
    m = ctx.run.manifest
    made = [
        ("run", f"{ctx.selection.run}, {m.created_at_utc}"),
        ("model", m.model_name),
        ("parts", ", ".join(found.parts)),
        ("colour", f"{shown.colouring.quantity()}; full colour: {shown.colouring.full_scale()}"),
        *cached_records.facts_of(ctx.run_dir, ctx.results_key),
    ]
    blocks = [shown.html(p.strongest, f"Strongest at {p.pole}") for p in found.poles]
    return document(f"{ctx.at.label} in {m.model_name}", made, "".join(blocks))


def _show_more() -> None:
    st.session_state["ui_corpus_n"] = int(st.session_state["ui_corpus_n"]) + _MORE


def _others() -> None:
    st.session_state["ui_corpus_seed"] = int(st.session_state["ui_corpus_seed"]) + 1
