"""The tests of a circuit: what sets of its neurons keep and leave, beside random sets, and swaps of its groups."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.circuit import frames
from neuron_signatures.dashboard.circuit.figures import curves_figure
from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
from neuron_signatures.dashboard.data import cached_circuits
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.widgets.elements import chart, empty, show_error, show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.views.circuit.checks import Checks
from neuron_signatures.views.circuit.opened import checks_command

_FORMATS = dict.fromkeys(("keeps", "left without"), "%.3f")


def checks_panel(page: CircuitPage) -> None:
    """Draw curves and swaps, or how to make them."""
    st.markdown("#### Tests of this circuit")
    try:
        checks = cached_circuits.checks(page.ctx, page.name)
    except (ProjectError, OSError) as e:
        show_error(e)
        return
    if checks is None:
        empty("This circuit has not been tested: whether its neurons are enough, and needed, is not known. This "
              "command tests it:", checks_command(page.ctx.run_dir, page.name, page.graph.prompt))  # fmt: skip
        return
    show_lines("How far to trust it", [
        *(["the circuit was traced again after it was tested"] if checks.outdated else []), *checks.record.warnings,
    ])  # fmt: skip
    _curves(page, checks)
    _swaps(checks)


def _curves(page: CircuitPage, checks: Checks) -> None:
    if not checks.curves:
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        chart(page.ctx, curves_figure(checks.curves), "circuit_curves")
    with right:
        frame = frames.curves_frame(checks.curves)
        table(frame, "circuit_curves_table", help=frames.CURVE_HELP, formats=_FORMATS, at_most=330)
        small("All other neurons (keeps), or these (left without), are set to their references. 1: the whole target.")
        with st.popover("Export"):
            downloads(frame, f"{page.name}_curves", "circuit_curves_export")


def _swaps(checks: Checks) -> None:
    if not checks.swaps:
        return
    st.markdown("#### Swapped groups")
    frame = frames.swaps_frame(checks.swaps)
    formats = {"moved": frames.SIGNED, "random flips": "percent"}
    table(frame, "circuit_swaps", help=frames.SWAP_HELP, formats=formats, at_most=420)
    with st.popover("Export"):
        downloads(frame, "swaps", "circuit_swaps_export")
