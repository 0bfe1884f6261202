"""The button that pins a neuron for comparison."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import MOST_PINS, View

_HELP = f"Pinned neurons are compared side by side, up to {MOST_PINS}. They are part of the page's address."


def pin_button(ctx: PageContext) -> None:
    """Pin or unpin the selected neuron; with pinned neurons, a second button compares them."""
    pins = ctx.selection.pins
    pinned = ctx.at in pins
    full = not pinned and len(pins) >= MOST_PINS
    st.button(
        "Unpin" if pinned else "Pin", key="pin", on_click=lambda: ctx.pin(ctx.at), disabled=full,
        help=f"{MOST_PINS} neurons are pinned; remove one first." if full else _HELP,
    )  # fmt: skip
    if pins:
        st.button(f"Compare ({len(pins)})", key="compare", on_click=lambda: ctx.choose(view=View.COMPARE))
