"""The token heatmap of the Neuron view: controls, the selected prompt, all prompts, and the export."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, Line, document, heatmap
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import BOS_HELP, revision
from neuron_signatures.dashboard.widgets.number_input import whole_number

_MOST_TOKENS = 4000
_MOST_TOKENS_STACKED = 400
_STACKED = 8
_MOST_STACKED = 200
_ORDERS = ("largest peak first", "as in the run")
_FILE_HELP = "A standalone file without scripts or external resources."
_DEFAULTS = {
    "ui_bos": False, "ui_values": False, "ui_normalise": "prompt", "ui_scale": "log",
    "ui_threshold": 0.0, "ui_floor": 0.05, "ui_compact": False, "ui_stack_order": _ORDERS[0], "ui_stack_n": _STACKED,
}  # fmt: skip


def default_settings() -> None:
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)


def this_prompt(ctx: PageContext, neuron: NeuronOnRun) -> HeatmapOptions:
    """Draw the selected prompt; returns the display options."""
    space, settings, export = st.columns([6, 1.3, 1.3], vertical_alignment="center")
    with settings.popover("Display"):
        options = _controls()
    index = ctx.selection.prompt
    line = neuron.line(index, title=False, most=_MOST_TOKENS)
    space.caption("Emerald is positive, orange is negative. Hover over a token for its position, id and activation.")
    st.html(heatmap([line], options, run_largest=neuron.largest))
    with export.popover("Export"):
        st.download_button(
            "This heatmap (HTML)", lambda: _document(ctx, [line], options, neuron), f"{file_name(ctx)}.html",
            "text/html", key="heat_html", on_click="ignore", help=_FILE_HELP,
        )  # fmt: skip
        downloads(neuron.token_frame(index), file_name(ctx), "tokens")
    return options


def all_prompts(ctx: PageContext, neuron: NeuronOnRun, options: HeatmapOptions) -> None:
    """Draw a stack of prompts with a button for more."""
    n = len(neuron.prompts)
    if n == 1:
        return
    st.markdown("#### All prompts of the run")
    left, right = st.columns([6, 1.3], vertical_alignment="bottom")
    order = left.segmented_control(
        "Order", _ORDERS, key="ui_stack_order", label_visibility="collapsed", required=True
    )  # fmt: skip
    shown = neuron.order(by_peak=order == _ORDERS[0])[: int(st.session_state["ui_stack_n"])]
    lines = [neuron.line(i, title=True, most=_MOST_TOKENS_STACKED) for i in shown]
    with right.popover("Export"):
        st.download_button(
            "These prompts (HTML)", lambda: _document(ctx, lines, options, neuron), f"{file_name(ctx)}_prompts.html",
            "text/html", key="stack_html", on_click="ignore", help=_FILE_HELP,
        )  # fmt: skip
    st.html(heatmap(lines, options, run_largest=neuron.largest))
    st.caption(f"{len(shown)} of {n} prompts.")
    if len(shown) < min(n, _MOST_STACKED):
        st.button("Show more", key="stack_more", on_click=_show_more)


def file_name(ctx: PageContext) -> str:
    return f"{ctx.at.label}_prompt{ctx.selection.prompt + 1}"


def _controls() -> HeatmapOptions:
    now = st.session_state
    st.checkbox("Include the first position (BOS)", key="ui_bos", help=BOS_HELP)
    st.checkbox("Show values", key="ui_values", help="The signed activation below each token.")
    decimals = whole_number("Decimals", "ui_decimals", low=0, high=6, default=2, disabled=not now["ui_values"])
    per_row = whole_number("Tokens per row", "ui_per_row", low=0, high=200, default=0, help="0 for as many as fit.")
    st.segmented_control(
        "Normalise", ("prompt", "run"), key="ui_normalise", required=True,
        help="r is |act| divided by the largest |act| of the prompt, or of the run.",
    )  # fmt: skip
    st.segmented_control(
        "Scale", ("log", "linear", "sqrt"), key="ui_scale", required=True,
        help="Opacity is proportional to log10(1 + 9 r), r, or sqrt(r), above the minimum.",
    )  # fmt: skip
    threshold_help = "Activations below this share of the largest have no colour."
    st.slider("Threshold", 0.0, 1.0, step=0.05, key="ui_threshold", help=threshold_help)
    st.slider("Minimum opacity", 0.0, 0.5, step=0.05, key="ui_floor", help="Opacity of the smallest activations.")
    st.checkbox("Compact", key="ui_compact")
    return HeatmapOptions(
        per_row=per_row, decimals=decimals if now["ui_values"] else None,
        normalise=now["ui_normalise"], scale=now["ui_scale"], threshold=now["ui_threshold"], floor=now["ui_floor"],
        compact=now["ui_compact"],
    )  # fmt: skip


def _show_more() -> None:
    st.session_state["ui_stack_n"] = min(int(st.session_state["ui_stack_n"]) + 3 * _STACKED, _MOST_STACKED)


def _document(ctx: PageContext, lines: list[Line], options: HeatmapOptions, neuron: NeuronOnRun) -> str:
    m = ctx.run.manifest
    where = ctx.prompt.probe_id if len(lines) == 1 else f"{len(lines)} of {len(neuron.prompts)} prompts"
    made = [
        ("run", f"{ctx.selection.run}, {m.created_at_utc}"),
        ("model", m.model_name),
        ("revision", revision(m)),
        ("hook", m.hook_name.replace("{layer}", str(ctx.at.layer))),
        ("prompt", where),
        ("colour", f"{options.scale}, normalised by {options.normalise}; threshold {options.threshold:g}, "
                   f"minimum opacity {options.floor:g}"),
        ("first position", "included" if neuron.include_bos else "excluded"),
    ]  # fmt: skip
    return document(f"{ctx.at.label} in {m.model_name}", made, heatmap(lines, options, run_largest=neuron.largest))
