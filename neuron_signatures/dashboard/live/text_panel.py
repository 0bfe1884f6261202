"""The text that the model reads."""

from __future__ import annotations

from typing import NamedTuple, cast, get_args

import streamlit as st

from neuron_signatures.api.base import MAX_TEXT
from neuron_signatures.api.live import BosRequest
from neuron_signatures.dashboard.live.keys import APPLIED, POSITION
from neuron_signatures.dashboard.shell.page_context import PageContext

_TEXT, _BOS = "live_text", "live_bos"
"""Session keys of inputs. They are not kept with the others: setting them would replace what is being typed."""
_ASKED = "live_asked"
_BOSES: tuple[BosRequest, ...] = get_args(BosRequest)
_BOS_NAMES: dict[BosRequest, str] = {
    "prepend": "always in front",
    "tokenizer": "as the tokenizer does",
    "off": "none",
}
_BOS_HELP = (
    "The token that begins a text (BOS). Its position has large activations that carry little information; without it, "
    "the first word has them."
)


_EXAMPLE = "The capital of the state containing Dallas is"


class Asked(NamedTuple):
    """A text that was submitted."""

    text: str
    bos: BosRequest


def ask_text(ctx: PageContext, *, ready: bool) -> Asked | None:
    """Draw the input; the last submitted text, or None before one was."""
    asked = cast(Asked | None, st.session_state.get(_ASKED))
    initial = asked or _of_prompt(ctx)
    st.session_state.setdefault(_TEXT, initial.text)
    st.session_state.setdefault(_BOS, initial.bos)
    with st.form("live_form", border=False):
        st.text_area(
            "Text", key=_TEXT, height=80, max_chars=MAX_TEXT, placeholder=_EXAMPLE,
            help="The prediction is that of the token after this text. Spaces at its end count.",
        )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.form_submit_button("Run", type="primary", disabled=not ready, on_click=_submit, key="live_run",
                                  help="Or Ctrl+Enter in the text." if ready else "There is no model yet.")  # fmt: skip
            if ctx.has_prompts:
                st.form_submit_button("Run the selected prompt", disabled=not ready, on_click=_use,
                                      args=(_of_prompt(ctx),), key="live_use_prompt")  # fmt: skip
            st.selectbox("BOS", _BOSES, format_func=_BOS_NAMES.__getitem__, key=_BOS, help=_BOS_HELP, width=220)
    return cast(Asked | None, st.session_state.get(_ASKED))


def _of_prompt(ctx: PageContext) -> Asked:
    """The selected prompt with a BOS if it begins with one in the run; without prompts, nothing."""
    if not ctx.has_prompts:
        return Asked("", "prepend")
    m, prompt = ctx.run.manifest, ctx.prompt
    has_bos = m.bos_token_id is not None and prompt.token_ids[:1] == [m.bos_token_id]
    return Asked(prompt.text, "prepend" if has_bos else "off")


def _use(asked: Asked) -> None:
    st.session_state[_TEXT], st.session_state[_BOS] = asked
    _submit()


def _submit() -> None:
    text = str(st.session_state.get(_TEXT) or "")
    if text:
        st.session_state[_ASKED] = Asked(text, st.session_state[_BOS])
        for key in (POSITION, APPLIED):
            st.session_state.pop(key, None)
