"""The explanations of a neuron on its page: both poles side by side, the one to read first, and what people can add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import shared
from neuron_signatures.dashboard.explanations import actions
from neuron_signatures.dashboard.explanations.card_html import STYLE, card, failures
from neuron_signatures.dashboard.explanations.empty_state import say_nothing_yet
from neuron_signatures.dashboard.scores.neuron_panel import score_lines
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_error, show_lines, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.explanations.entry import MAX_TEXT
from neuron_signatures.runs.explanations.names import HUMAN_SET
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.reading import has_explanations
from neuron_signatures.views.explanations.shown import ExplanationView, PoleExplanations

_FIRST, _MORE = 6, 20
"""Further explanations of a pole that are shown, and how many a button adds."""
_SAVED_AS = "It is added to the log; the text before stays there."


class _Person(NamedTuple):
    """Who looks at the page."""

    name: str
    """Empty if none was typed."""
    can_write: bool


def explanations_panel(ctx: PageContext) -> None:
    """Draw the explanations of the selected neuron, or how to make some."""
    if not has_explanations(ctx.run_dir):
        with st.expander("Explanations: none in this run"):
            say_nothing_yet(ctx)
            _head(ctx, "")
            _poles(ctx, [PoleExplanations("+", ()), PoleExplanations("-", ())], _person(ctx))
        return
    try:
        found = shared(ctx.run_dir).of(ctx.explanations_key, ctx.at)
        problems = shared(ctx.run_dir).problems(ctx.explanations_key)
    except (ProjectError, OSError) as e:
        show_error(e)
        return
    _head(ctx, "#### Explanations")
    show_lines("Some explanations of this run cannot be read.", problems)
    _poles(ctx, found.poles, _person(ctx))


def _head(ctx: PageContext, title: str) -> None:
    left, right = st.columns([2, 1], vertical_alignment="center")
    if title:
        left.markdown(title, help=_HELP)
    if actions.is_read_only(ctx.run_dir):
        left.caption("This run folder is read-only, so explanations cannot be edited, voted on, locked or noted here.")
    else:
        with right:
            actions.name_input()
    actions.show_outcome()


def _person(ctx: PageContext) -> _Person:
    return _Person(actions.typed_name(), not actions.is_read_only(ctx.run_dir))


def _poles(ctx: PageContext, poles: Sequence[PoleExplanations], person: _Person) -> None:
    st.html(STYLE)
    for column, found in zip(st.columns(2), poles, strict=True):
        with column:
            _pole(ctx, found, person)


def _pole(ctx: PageContext, found: PoleExplanations, person: _Person) -> None:
    name = "positive activations (+)" if found.pole == "+" else "negative activations (-)"
    small(f"{ctx.at.label}{found.pole}, {name}")
    first = found.first
    good = [v for v in found.shown if v.is_ok and v is not first]
    failed = [v for v in found.shown if not v.is_ok]
    if first is not None:
        _explanation(ctx, first, found, person)
    else:
        st.caption("No explanation of this pole.")
        _first_one(ctx, NeuronPole(*ctx.at, found.pole), person)
    if good:
        with st.expander(f"{count_of(len(good), 'other explanation')} of {ctx.at.label}{found.pole}"):
            _others(ctx, good, found, person)
    if failed:
        st.html(failures(failed[: _FIRST + _MORE]))


def _others(ctx: PageContext, views: list[ExplanationView], found: PoleExplanations, person: _Person) -> None:
    key = f"explanations_shown_{ctx.at.label}{found.pole}"
    n = int(st.session_state.get(key, _FIRST))
    for view in views[:n]:
        _explanation(ctx, view, found, person)
    if len(views) > n:
        st.button(f"Show {min(_MORE, len(views) - n)} more of {len(views) - n:,}", key=f"more_{key}",
                  on_click=lambda: st.session_state.update({key: n + _MORE}))  # fmt: skip


def _explanation(ctx: PageContext, view: ExplanationView, found: PoleExplanations, person: _Person) -> None:
    st.html(card(view, is_first=view is found.first))
    for line in score_lines(ctx, NeuronPole(*ctx.at, found.pole), view.entry.id):
        small(line)
    if person.can_write:
        _controls(ctx, view, found, person)


def _controls(ctx: PageContext, view: ExplanationView, found: PoleExplanations, person: _Person) -> None:
    run_dir, id_, author, old = ctx.run_dir, view.entry.id, person.name, view.entry.text
    other = view.locked_by is not None and view.locked_by != author
    with st.container(horizontal=True, gap="small", key=f"controls_exp_{id_}"):
        for value, label in ((1, "Agree"), (-1, "Disagree")):
            _vote(ctx, view, 1 if value > 0 else -1, label, author)
        _lock(ctx, view, found, author)
        with st.popover("Edit", disabled=not author or other):
            st.text_area("New text", actions.editable(old), key=f"exp_text_{id_}", max_chars=MAX_TEXT)
            st.button("Save edit", key=f"exp_save_{id_}", type="primary", help=_SAVED_AS,
                      on_click=lambda: actions.save_edit(run_dir, id_, old, f"exp_text_{id_}", author))  # fmt: skip
        with st.popover("Note", disabled=not author):
            key = f"exp_note_{id_}"
            st.text_area("Note", key=key, max_chars=MAX_TEXT)
            st.button("Save note", key=f"exp_save_note_{id_}", type="primary",
                      on_click=lambda: actions.save_note(run_dir, id_, key, author))  # fmt: skip
    if other:
        who = brief(view.locked_by or "")
        small(f"Locked by {who}: only {who} can edit or unlock it.")


def _vote(ctx: PageContext, view: ExplanationView, value: Literal[1, -1], label: str, author: str) -> None:
    run_dir, id_ = ctx.run_dir, view.entry.id
    mine = next((v.value for v in view.votes if v.author_name == author), 0)
    n = view.n_up if value > 0 else view.n_down
    st.button(
        f"{label} {n}" if n else label, key=f"exp_vote_{value}_{id_}", disabled=not author,
        type="primary" if author and mine == value else "secondary",
        help="Click again to withdraw your vote." if author and mine == value else _need_name(author, ""),
        on_click=lambda: actions.save_vote(run_dir, id_, 0 if mine == value else value, author),
    )  # fmt: skip


def _lock(ctx: PageContext, view: ExplanationView, found: PoleExplanations, author: str) -> None:
    run_dir, id_ = ctx.run_dir, view.entry.id
    if view.locked_by is not None:
        mine = view.locked_by == author
        st.button("Unlock", key=f"exp_unlock_{id_}", disabled=not mine, help=_need_name(author, ""),
                  on_click=lambda: actions.save_lock(run_dir, id_, author, locked=False))  # fmt: skip
        return
    beside = [v for v in found.shown if v.entry.set == view.entry.set and v.entry.mode == view.entry.mode]
    taken = any(v.locked_by is not None for v in beside)
    why = "Another explanation of this pole and set is locked." if taken else _LOCK_HELP
    st.button("Lock", key=f"exp_lock_{id_}", disabled=not author or taken, help=_need_name(author, why),
              on_click=lambda: actions.save_lock(run_dir, id_, author, locked=True))  # fmt: skip


_HELP = (
    "What the neuron is active on, in words, the explanation to read first. Edits, votes, locks and notes are added to "
    "the run's log with the name on the right, which is not verified and is kept while this page is open."
)
_LOCK_HELP = "A locked explanation is the one to read, and is not replaced, until you unlock it."


def _need_name(author: str, help: str) -> str | None:
    return (help or None) if author else "Type your name first."


def _first_one(ctx: PageContext, at: NeuronPole, person: _Person) -> None:
    if not person.can_write:
        return
    run_dir, key, author = ctx.run_dir, f"exp_new_{at.label}", person.name
    with st.popover("Write one", disabled=not author, help=_need_name(author, "")):
        st.text_area(f"Explanation of {at.label}", key=key, max_chars=MAX_TEXT)
        st.button("Save", key=f"exp_save_new_{at.label}", type="primary", help=f"It goes to the set {HUMAN_SET}.",
                  on_click=lambda: actions.save_first(run_dir, at, key, author))  # fmt: skip
