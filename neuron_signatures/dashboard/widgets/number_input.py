"""Inputs for whole numbers whose bounds are checked on the server.

Streamlit 1.67 checks bounds in the browser: a number out of bounds stays visible in the input, but the server keeps
the old value. It always bounds integer inputs, so these are float inputs that display no decimals.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_PROBLEM = "box_problem"


def whole_number(
    label: str, key: str, *, low: int, high: int, default: int, step: int = 1, help: str | None = None,
    disabled: bool = False, then: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """The number in the input, from `low` to `high`.

    An emptied input is set to `default`; an invalid number gives a message and restores the previous value. `then` is
    called with each accepted number.
    """
    current = int(st.session_state.setdefault(key, default))
    st.number_input(
        label, value=None, step=float(step), format="%.0f", key=key, help=help, disabled=disabled,
        on_change=lambda: _accept(key, current, low, high, default, then),
    )  # fmt: skip
    where, problem = st.session_state.get(_PROBLEM, ("", ""))
    if where == key:
        del st.session_state[_PROBLEM]
        st.caption(f":red[{problem}]")
    return current


def _accept(key: str, current: int, low: int, high: int, default: int, then: Callable[[int], None] | None) -> None:
    typed: float | None = st.session_state[key]
    if typed is None:
        typed = default
    elif not low <= typed <= high or typed != int(typed):
        st.session_state[_PROBLEM] = (key, f"{typed:.12g} is not a whole number from {low:,} to {high:,}.")
        typed = current
    elif then is not None:
        then(int(typed))
    st.session_state[key] = int(typed)
