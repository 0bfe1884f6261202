"""Coloured text of the Neuron view: controls, the first prompts, all prompts, and the exports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun, order_of
from neuron_signatures.dashboard.neuron.colouring import (
    SHOWS,
    Colouring,
    Show,
    can_be_relative,
    colouring_of,
    corpus_colouring,
)
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, Line, document, heatmap
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import BOS_HELP, revision
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.views.records.evidence import Evidence
from neuron_signatures.views.scale import ScaleOf, Spread

_MOST_TOKENS = 4000
_MOST_TOKENS_TOP = 60
_MOST_TOKENS_STACKED = 400
_TOP = 4
"""Prompts with the largest values that stand below the selected one."""
_STACKED = 8
_MOST_STACKED = 200
_ORDERS = ("largest peak first", "as in the run")
_FILE_HELP = "A standalone file without scripts or external resources."
_SCALES: tuple[ScaleOf, ...] = ("run", "prompt", "records")
_SCALE_NAMES: dict[ScaleOf, str] = {"run": "the run", "prompt": "each prompt", "records": "the corpus"}
_CHOICE = "ui_show_choice"
"""Session key of the quantity that the user chose, kept from neuron to neuron."""
_DEFAULTS = {
    "ui_bos": False, "ui_values": False, "ui_normalise": "run", "ui_scale": "log",
    "ui_threshold": 0.0, "ui_floor": 0.05, "ui_compact": False, "ui_stack_order": _ORDERS[0], "ui_stack_n": _STACKED,
}  # fmt: skip
_SHOW_NAMES: dict[Show, str] = {"activation": "activation", "relative": "relative to the run's mean"}
_CORPUS_NAMES: dict[Show, str] = {"activation": "activation", "relative": "relative to the corpus's mean"}
_SHOW_HELP = (
    "activation: the value itself. relative: (value - mean) / standard deviation, over the included tokens of the "
    "run or the corpus; the default for neurons that are always on. The activation is in each token's hover text in "
    "both."
)


def default_settings() -> None:
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)


def chosen_colouring(neuron: NeuronOnRun, evidence: Evidence | None = None) -> Colouring:
    """By the quantity that the user chose; by default relative for a neuron that is always on, else activation.

    With the evidence of a corpus, the full scale is that of the corpus if the user chose it.
    """
    if evidence is not None and st.session_state["ui_normalise"] == "records":
        return chosen_corpus_colouring(evidence)
    values = neuron.counted_values()
    usual = colouring_of(values, "activation")
    choice = _choice(usual.spread)
    return usual if choice == "activation" else colouring_of(values, choice)


def chosen_corpus_colouring(evidence: Evidence) -> Colouring:
    """As `chosen_colouring`, by the records of a corpus."""
    return corpus_colouring(evidence, _choice(evidence.spread))


def _choice(spread: Spread | None) -> Show:
    always = spread is not None and bool(spread.always_on)
    chosen: Show = st.session_state.get(_CHOICE) or ("relative" if always else "activation")
    return chosen


def first_prompts(
    ctx: PageContext, neuron: NeuronOnRun, evidence: Evidence | None = None
) -> tuple[Colouring, HeatmapOptions]:
    """Draw the selected prompt and those with the largest values; returns what the colours are.

    `evidence` is that of the records of a corpus, if they hold the neuron.
    """
    if evidence is None and st.session_state["ui_normalise"] == "records":
        st.session_state["ui_normalise"] = "run"
    colouring = chosen_colouring(neuron, evidence)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        show_switch(colouring)
        with st.container(horizontal=True, width="content"):
            with st.popover("Display"):
                options = _controls(with_records=evidence is not None)
            exports = st.popover("Export")
    largest = neuron.largest_of(colouring)
    here = ctx.selection.prompt
    top = [i for i in order_of(largest, by_size=True) if i != here and np.isfinite(largest[i])][:_TOP]
    titles = _titles(ctx, [here, *top], largest, colouring)
    lines = [neuron.line(here, f"this prompt: {titles[0]}", most=_MOST_TOKENS)]
    lines += [neuron.line(i, title, most=_MOST_TOKENS_TOP) for i, title in zip(top, titles[1:], strict=True)]
    st.html(heatmap(lines, colouring, options))
    say_always_on(ctx, colouring)
    with exports:
        _download(ctx, "This heatmap (HTML)", lines[:1], colouring, options, neuron, "heat_html")
        downloads(neuron.token_frame(here), file_name(ctx), "tokens")
    return colouring, options


def all_prompts(ctx: PageContext, neuron: NeuronOnRun, colouring: Colouring, options: HeatmapOptions) -> None:
    """Draw a stack of prompts with a button for more."""
    n = len(neuron.prompts)
    if n == 1:
        return
    st.markdown("#### All prompts of the run")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        order = st.segmented_control(
            "Order", _ORDERS, key="ui_stack_order", label_visibility="collapsed", required=True
        )  # fmt: skip
        exports = st.popover("Export")
    largest = neuron.largest_of(colouring)
    shown = order_of(largest, by_size=order == _ORDERS[0])[: int(st.session_state["ui_stack_n"])]
    titles = _titles(ctx, shown, largest, colouring)
    lines = [neuron.line(i, title, most=_MOST_TOKENS_STACKED) for i, title in zip(shown, titles, strict=True)]
    with exports:
        _download(ctx, "These prompts (HTML)", lines, colouring, options, neuron, "stack_html")
    st.html(heatmap(lines, colouring, options))
    st.caption(f"{len(shown)} of {count_of(n, 'prompt')}.")
    if len(shown) < min(n, _MOST_STACKED):
        st.button("Show more", key="stack_more", on_click=_show_more)


def file_name(ctx: PageContext) -> str:
    return f"{ctx.at.label}_prompt{ctx.selection.prompt}"


def prompt_title(label: str, largest: float, colouring: Colouring) -> str:
    """A prompt's label with the largest magnitude of the coloured quantity."""
    if not np.isfinite(largest):
        return label
    unit = "largest |act| " if colouring.show == "activation" else "largest deviation, in std: "
    return f"{label}, {unit}{largest:.4g}"


def _titles(ctx: PageContext, prompts: Sequence[int], largest: np.ndarray, colouring: Colouring) -> list[str]:
    labels = cached_reads.prompt_labels(ctx.run, ctx.data_key, ctx.results_key)
    return [prompt_title(labels[i], largest[i], colouring) for i in prompts]


def show_switch(colouring: Colouring) -> None:
    """The choice of the quantity."""
    names = _CORPUS_NAMES if colouring.corpus else _SHOW_NAMES
    st.session_state["show"] = colouring.show
    st.segmented_control(
        "Show", SHOWS, format_func=names.__getitem__, key="show", label_visibility="collapsed", required=True,
        on_change=lambda: st.session_state.update({_CHOICE: st.session_state["show"]}), help=_SHOW_HELP,
        disabled=not can_be_relative(colouring.spread),
    )  # fmt: skip


def say_always_on(ctx: PageContext, colouring: Colouring) -> None:
    where = "the corpus" if colouring.corpus else "the run"
    said = "" if colouring.spread is None else colouring.spread.always_on_text(where)
    if said:
        why = "; so the colours are relative to its mean." if colouring.show == "relative" else "."
        st.caption(f"{ctx.at.label} is {said}{why}")


def _controls(*, with_records: bool) -> HeatmapOptions:
    now = st.session_state
    st.checkbox("Include the first position (BOS)", key="ui_bos", help=BOS_HELP)
    st.checkbox("Show values", key="ui_values", help="The signed value below each token.")
    decimals = whole_number("Decimals", "ui_decimals", low=0, high=6, default=2, disabled=not now["ui_values"])
    per_row = whole_number("Tokens per row", "ui_per_row", low=0, high=200, default=0, help="0 for as many as fit.")
    st.segmented_control(
        "One colour scale for", _SCALES if with_records else _SCALES[:2], key="ui_normalise", required=True,
        format_func=_SCALE_NAMES.__getitem__,
        help="The run: the same colour is the same value everywhere; the few values beyond the scale are outlined. "
        "Each prompt: the full colour is the prompt's own largest value. The corpus: it is the neuron's largest value "
        "over the records of a corpus.",
    )  # fmt: skip
    opacity_controls()
    st.checkbox("Compact", key="ui_compact")
    return HeatmapOptions(
        per_row=per_row, decimals=decimals if now["ui_values"] else None,
        normalise=now["ui_normalise"], scale=now["ui_scale"], threshold=now["ui_threshold"], floor=now["ui_floor"],
        compact=now["ui_compact"],
    )  # fmt: skip


def opacity_controls() -> None:
    """How opacity grows with the value; the keys are the same wherever they are shown."""
    st.segmented_control(
        "Scale", ("log", "linear", "sqrt"), key="ui_scale", required=True,
        help="Opacity is proportional to log10(1 + 9 r), r, or sqrt(r), above the minimum.",
    )  # fmt: skip
    threshold_help = "Values below this share of the full scale have no colour."
    st.slider("Threshold", 0.0, 1.0, step=0.05, key="ui_threshold", help=threshold_help)
    st.slider("Minimum opacity", 0.0, 0.5, step=0.05, key="ui_floor", help="Opacity of the smallest values.")


def _show_more() -> None:
    st.session_state["ui_stack_n"] = min(int(st.session_state["ui_stack_n"]) + 3 * _STACKED, _MOST_STACKED)


def _download(
    ctx: PageContext, label: str, lines: Sequence[Line], colouring: Colouring, options: HeatmapOptions,
    neuron: NeuronOnRun, key: str,
) -> None:  # fmt: skip
    name = file_name(ctx) if len(lines) == 1 else f"{file_name(ctx)}_prompts"
    st.download_button(
        label, lambda: _document(ctx, lines, colouring, options, neuron), f"{name}.html", "text/html", key=key,
        on_click="ignore", help=_FILE_HELP,
    )  # fmt: skip


def _document(
    ctx: PageContext, lines: Sequence[Line], colouring: Colouring, options: HeatmapOptions, neuron: NeuronOnRun
) -> str:
    m = ctx.run.manifest
    where = ctx.prompt.probe_id if len(lines) == 1 else f"{len(lines)} of {count_of(len(neuron.prompts), 'prompt')}"
    made = [
        ("run", f"{ctx.selection.run}, {m.created_at_utc}"),
        ("model", m.model_name),
        ("revision", revision(m)),
        ("hook", m.hook_name.replace("{layer}", str(ctx.at.layer))),
        ("prompt", where),
        ("colour", f"{colouring.quantity()}; {options.scale}, one scale for "
                   f"{_SCALE_NAMES[options.normalise]}; threshold {options.threshold:g}, "
                   f"minimum opacity {options.floor:g}"),
        ("first position", "included" if neuron.include_bos else "excluded"),
    ]  # fmt: skip
    return document(f"{ctx.at.label} in {m.model_name}", made, heatmap(lines, colouring, options))
