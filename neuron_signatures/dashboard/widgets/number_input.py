"""Boxes for whole numbers whose bounds are checked here, so that what a box shows is what the page uses.

Streamlit 1.67 checks bounds in the browser: a number beyond them stays in the box, the server never hears of it and
goes on with another. It bounds whole numbers of its own accord, so that a box is one for floats that shows none.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_PROBLEM = "box_problem"


def whole_number(
    label: str, key: str, *, low: int, high: int, default: int, step: int = 1, help: str | None = None,
    disabled: bool = False, then: Callable[[int], None] | None = None,
) -> int:  # fmt: skip
    """The number in the box, from `low` to `high`. Emptied, the box holds `default`; for any other entry it says what
    it takes and goes back to what it held. `then` is called with a number that is taken.
    """
    held = int(st.session_state.setdefault(key, default))
    st.number_input(
        label, value=None, step=float(step), format="%.0f", key=key, help=help, disabled=disabled,
        on_change=lambda: _take(key, held, low, high, default, then),
    )  # fmt: skip
    where, problem = st.session_state.get(_PROBLEM, ("", ""))
    if where == key:
        del st.session_state[_PROBLEM]
        st.caption(f":red[{problem}]")
    return held


def _take(key: str, held: int, low: int, high: int, default: int, then: Callable[[int], None] | None) -> None:
    typed: float | None = st.session_state[key]
    if typed is None:
        typed = default
    elif not low <= typed <= high or typed != int(typed):
        st.session_state[_PROBLEM] = (key, f"{typed:.12g} is not a whole number from {low:,} to {high:,}.")
        typed = held
    elif then is not None:
        then(int(typed))
    st.session_state[key] = int(typed)
