"""What is edited: neurons, kind, value and positions; the edit is applied by a button."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import streamlit as st

from neuron_signatures.api.live import EditKind
from neuron_signatures.api.models import ModelFacts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.edits import KINDS, WITH_VALUE, Edit, Where, parse_neurons, parse_positions
from neuron_signatures.dashboard.live.focus_panel import Focus
from neuron_signatures.dashboard.live.keys import APPLIED, EDITED, KIND, WHERE
from neuron_signatures.dashboard.live.run_link import RunLink
from neuron_signatures.dashboard.widgets.elements import small
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.runs.errors import UsageError

_VALUE, _TYPED = "ui_live_value", "ui_live_where_typed"
_DRAWS, _BY, _NEW = "ui_live_draws", "ui_live_controls", "ui_live_new_tokens"
ControlsBy = Literal["edit", "delta"]
FEWEST_DRAWS = 20
_LARGEST = 1e6
_NEW_HELP = "The text goes on for so many tokens, without and with the edit; 0 for none."
_KIND_NAMES: dict[EditKind, str] = {
    "zero": "zero", "mean": "mean of the run", "set": "set to", "add": "add", "scale": "scale by", "flip": "flip sign",
}  # fmt: skip
_KIND_HELP = (
    "New activation: 0; the neuron's mean over tokens of the run (of its corpus if it has records, else of its "
    "prompts); the value; act + value; value x act; -act."
)
_WHERES: dict[Where, str] = {
    "later": "all but the first", "all": "all, and in new text", "here": "the chosen one", "typed": "typed",
}  # fmt: skip
_WHERE_HELP = (
    "The first position has massive activations that carry little information; a change there can break the model. "
    "Only an edit of all positions also holds at the tokens of new text."
)
_DRAWS_HELP = (
    "Random sets of as many neurons of the same layers, edited at the same positions: what the effect is compared "
    "with. More sets take longer and allow a smaller p."
)
_BY_HELP = (
    "What happens to the random neurons. Same size: a change as large in the residual stream (|change| x norm of the "
    "output weight). Same edit: the same kind and value; most neurons are nearly silent, so this changes little, and "
    "tests whether the edited neurons are active."
)
_BYS: dict[ControlsBy, str] = {"delta": "same size", "edit": "same edit"}
DEFAULTS = {_BY: "delta", EDITED: "", KIND: "zero", _VALUE: 0.0, WHERE: "later", _TYPED: ""}


@dataclass(frozen=True)
class Applied:
    """An edit that the button applied, to which model, and on which text, position and target."""

    model: tuple[str, str, str]
    focus: Focus
    edit: Edit
    draws: int
    by: ControlsBy
    new_tokens: int


def edit_panel(model: LiveModel, link: RunLink, focus: Focus) -> Applied | None:
    """Draw the inputs; the edit that was last applied to this model and text, None before one was."""
    st.markdown("#### Edit neurons and see the answer change")
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_live_edit"):
        st.text_input("Neurons", key=EDITED, placeholder="L3N508, L4N178", width=260,
                      help="One or several; the buttons above fill this in.")  # fmt: skip
        kinds = KINDS if link.on_server else tuple(k for k in KINDS if k != "mean")
        kind = st.selectbox("Edit", kinds, key=KIND, format_func=_KIND_NAMES.__getitem__, help=_KIND_HELP, width=160)
        st.number_input("Value", value=None, key=_VALUE, disabled=kind not in WITH_VALUE, format="%.6g", width=110,
                        help="In the units of activations; a factor for scale.")  # fmt: skip
        where = st.selectbox("Positions", list(_WHERES), key=WHERE, format_func=_WHERES.__getitem__, width=190,
                             help=_WHERE_HELP)  # fmt: skip
        if where == "typed":
            st.text_input(
                "Which", key=_TYPED, placeholder="3, 5, -1", width=110, help="Positions from 0; -1 is the last."
            )
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_live_edit_more"):
        with st.container(width=150):
            draws = whole_number(
                "Random sets", _DRAWS, low=FEWEST_DRAWS, high=1000, default=FEWEST_DRAWS, help=_DRAWS_HELP
            )
        by = st.selectbox("Their change", list(_BYS), key=_BY, format_func=_BYS.__getitem__, help=_BY_HELP, width=150)
        with st.container(width=150):
            new = whole_number("New tokens", _NEW, low=0, high=500, default=12, help=_NEW_HELP)
        pressed = st.button("Apply", key="live_apply", type="primary", disabled=not model.is_reachable)
    applied = cast(Applied | None, st.session_state.get(APPLIED))
    if applied is not None and applied.model != model.identity:
        applied = None
    try:
        now = Applied(model.identity, focus, _typed_edit(model.facts, link, focus), draws, by, new)
    except UsageError as e:
        if pressed:
            st.code(e.line(), language=None, wrap_lines=True)
        return applied
    if focus.on is None:
        small("The target must be one token.")
    elif pressed:
        st.session_state[APPLIED] = applied = now
    elif applied is not None and applied != now:
        small("Position, target or edit have changed since; Apply shows their effect.")
    return applied


def _typed_edit(facts: ModelFacts, link: RunLink, focus: Focus) -> Edit:
    """The edit of the inputs. Raises `UsageError`."""
    now = st.session_state
    kind, where = cast(EditKind, now[KIND]), cast(Where, now[WHERE])
    value = now[_VALUE]
    if kind in WITH_VALUE and (value is None or not abs(value) <= _LARGEST):
        raise UsageError("no value is given", next_step=f"Type a number of at most {_LARGEST:,.0f}")
    positions: tuple[int, ...] | None = None
    if where == "later":
        positions = tuple(range(1, len(focus.tokens))) or (0,)
    elif where == "here":
        positions = (focus.pos,)
    elif where == "typed":
        positions = parse_positions(str(now.get(_TYPED) or ""), len(focus.tokens))
    used = float(value or 0.0) if kind in WITH_VALUE else 0.0
    return Edit(parse_neurons(str(now[EDITED] or ""), facts), kind, used, positions, link.mean_of or None)
