"""What an edit changes: the prediction, beside what random neurons do, and the text that follows."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from neuron_signatures.api.live import Generated, GenerateRequest, InterveneAnswer, InterveneRequest
from neuron_signatures.dashboard.interventions.sheet_table import sheet_frame
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.answers import LiveModel
from neuron_signatures.dashboard.live.edit_panel import Applied
from neuron_signatures.dashboard.live.run_link import RunLink
from neuron_signatures.dashboard.live.sheets import change_sheet
from neuron_signatures.dashboard.widgets.elements import as_html, facts, lead, show_lines, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import escape

_LISTED = 200
"""Tokens of each prediction that are asked for, so that most have both probabilities."""
_LONGEST = 20_000
_FORMATS = {"share": "percent", "signed": "%+.3g"}
_STYLE = """<style>
.ns-text{font-family:"Source Code Pro",ui-monospace,monospace;font-size:.85rem;line-height:1.5;overflow-wrap:anywhere;
white-space:pre-wrap}.ns-text .p{opacity:.55}.ns-text .n{font-weight:600}
</style>"""


def effect_panel(model: LiveModel, link: RunLink, applied: Applied) -> None:
    """Draw the effect of the applied edit on its text and target."""
    focus, edit = applied.focus, applied.edit
    asked = focus.asked
    assert focus.on is not None  # else it is not applied
    late = edit.positions is not None and min(edit.positions) > focus.pos
    request = InterveneRequest(
        text=asked.text,
        bos=asked.bos,
        edits=edit.messages(),
        on=focus.on,
        top_k=_LISTED,
        controls=applied.draws,
        controls_by=applied.by,
    )
    keys = (link.ctx.data_key, link.ctx.results_key)
    with st.spinner("Waiting for the model: the edit, then random neurons", show_time=True):
        answer = model.ask(lambda c: c.intervene, request, *keys)
    with st.container(gap="xsmall"):
        lead(texts.verdict(answer))
        small(edit.text())
        if late:
            small("All edited positions come after the chosen one, so its prediction cannot change.")
    left, right = st.columns([2, 3])
    with left:
        facts(texts.effect_facts(answer, len(edit.neurons)))
        show_lines("How far to trust it", answer.warnings)
    with right:
        _changes(answer)
    if applied.new_tokens:
        _continuation(model, link, applied, answer.warnings)


def _changes(answer: InterveneAnswer) -> None:
    sheet = change_sheet(answer)
    formats = {c.name: _FORMATS[c.kind] for c in sheet.columns if c.kind in _FORMATS}
    help = {c.name: c.help for c in sheet.columns}
    table(sheet_frame(sheet), "live_changes", help=help, at_most=388, formats=formats)
    small(f"The ten most likely tokens of either prediction. Empty: not among the first {_LISTED} of the other.")


def _continuation(model: LiveModel, link: RunLink, applied: Applied, said: Sequence[str]) -> None:
    """The text that follows, without and with the edit. Warnings that were `said` above are not repeated."""
    asked = applied.focus.asked
    request = GenerateRequest(
        text=asked.text, bos=asked.bos, edits=tuple(applied.edit.messages()),
        max_new_tokens=applied.new_tokens,
    )  # fmt: skip
    st.markdown("##### The text goes on")
    try:
        with st.spinner("Waiting for the model: new text", show_time=True):
            answer = model.ask(lambda c: c.generate, request, link.ctx.data_key, link.ctx.results_key)
    except ProjectError as e:
        st.code(e.line(), language=None, wrap_lines=True)
        return
    for column, title, found in zip(
        st.columns(2), ("without the edit", "with the edit"), (answer.plain, answer.edited), strict=True
    ):
        with column:
            small(f"{title}{_end(found, applied.new_tokens)}")
            if found is not None:
                prompt = as_html(escape(asked.text[-400:]))
                st.html(f'{_STYLE}<div class="ns-text"><span class="p">{prompt}</span>'
                        f'<span class="n">{as_html(found.text[:_LONGEST])}</span></div>')  # fmt: skip
    everywhere = applied.edit.positions is None
    small(
        "The most likely token at each step (temperature 0). "
        + ("The edit also holds at the new tokens." if everywhere else "The new tokens themselves are not edited.")
    )
    show_lines("How far to trust it", [w for w in answer.warnings if w not in said])


def _end(found: Generated | None, most: int) -> str:
    if found is None:
        return ": no text"
    return ", ended by the model" if found.finished else f", {count_of(min(len(found.tokens), most), 'token')}"
