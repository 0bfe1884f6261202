"""The prediction at a position, and the target that influence and effects are about."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from neuron_signatures.api.live import NextTokenAnswer, NextTokenRequest, TargetMessage, Token
from neuron_signatures.dashboard.interventions.sheet_table import sheet_frame
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.keys import POSITION
from neuron_signatures.dashboard.live.sheets import prediction_sheet
from neuron_signatures.dashboard.live.text_panel import Asked
from neuron_signatures.dashboard.live.texts import position_label
from neuron_signatures.dashboard.widgets.elements import small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions.sheets import size_text

_TARGET, _FOIL = "ui_live_target", "ui_live_foil"
_TOP = 10
_LONGEST = 1000
_TARGET_HELP = (
    "The token whose logit is explained and measured, exactly one token; a leading space counts: type `·Austin` or "
    "` Austin`. Empty: the most likely token."
)
_FOIL_HELP = "Optional: then the quantity is the logit of the target minus that of the foil, which is easier to read."


@dataclass(frozen=True)
class Focus:
    """A text with a position, and what is explained there."""

    asked: Asked
    tokens: tuple[Token, ...]
    pos: int
    on: TargetMessage | None
    """None if what was typed is not one token each."""

    @property
    def label(self) -> str:
        return position_label(self.tokens, self.pos)


def choose_focus(model: LiveModel, asked: Asked) -> tuple[Focus, NextTokenAnswer]:
    """Draw the inputs. Raises `ProjectError` if the text cannot be predicted from."""
    with st.spinner("Waiting for the model"):
        last = predict(model, asked, -1)
    tokens = tuple(last.tokens)
    n = len(tokens)
    pos = st.session_state.get(POSITION)
    if not isinstance(pos, int) or not 0 <= pos < n:
        st.session_state[POSITION] = n - 1
    left, middle, right = st.columns(3)
    pos = left.selectbox(
        "Position", list(range(n)), format_func=lambda p: position_label(tokens, p), key=POSITION,
        help="The prediction after this token, the activations at it, and the effects on that prediction.",
    )  # fmt: skip
    target = typed_token(middle.text_input("Target", key=_TARGET, placeholder="the most likely token",
                                           help=_TARGET_HELP, max_chars=_LONGEST))  # fmt: skip
    foil = typed_token(right.text_input("Foil", key=_FOIL, placeholder="none", help=_FOIL_HELP, max_chars=_LONGEST))
    answer = last if pos == n - 1 else predict(model, asked, pos)
    on: TargetMessage | None = TargetMessage(pos=pos, target=target, foil=foil)
    named = tuple(dict.fromkeys(t for t in (target, foil) if t is not None))
    if named:
        try:
            answer = predict(model, asked, pos, named)
        except ProjectError as e:
            st.code(e.line(), language=None, wrap_lines=True)
            on = None
    return Focus(asked, tokens, pos, on), answer


def predict(model: LiveModel, asked: Asked, pos: int, named: tuple[str, ...] = ()) -> NextTokenAnswer:
    request = NextTokenRequest(text=asked.text, bos=asked.bos, pos=pos, top_k=_TOP, tokens=named)
    return model.ask(lambda c: c.next_token, request)


def typed_token(text: str | None) -> str | None:
    """A token as typed: `·` stands for a space at the beginning, as tokens are shown. None for nothing."""
    if not text:
        return None
    body = text.lstrip("·")
    return " " * (len(text) - len(body)) + body


def prediction_panel(focus: Focus, answer: NextTokenAnswer) -> None:
    """The most likely next tokens as bars."""
    st.markdown("#### Next token", help="The live model's prediction after the position.")
    sheet = prediction_sheet(answer)
    frame = sheet_frame(sheet)
    frame.insert(3, "bar", frame["probability"])
    table(frame, "live_prediction", help={c.name: c.help for c in sheet.columns}, bars={"bar": 1.0}, labels={"bar": ""},
          widths={"rank": 46},
          formats={"probability": "percent", "logit": "%+.4g", "log p": "%+.4g"})  # fmt: skip
    small(f"After position {brief(focus.label)}. Entropy {size_text(answer.entropy)} nats.")
