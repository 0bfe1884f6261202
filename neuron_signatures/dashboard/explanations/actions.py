"""What people add to explanations: edits, votes, locks and notes, under the name that they type once in a session.

Everything here is a callback of a button; what went wrong is shown by the next `show_outcome`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import shared
from neuron_signatures.dashboard.widgets.elements import show_error
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.entry import MAX_NAME, Entry
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import NeuronPole

AUTHOR = "ui_author"
"""Session key of the name."""
_OUTCOME = "explanation_outcome"
_KEPT = "\n\t\u200c\u200d"
"""Control and format characters that texts of some languages need."""


def is_read_only(run_dir: Path) -> bool:
    """Whether nothing can be written to the run."""
    folder = run_dir / EXPLANATIONS
    return not all(os.access(path, os.W_OK) for path in (run_dir, folder) if path.exists())


def name_input() -> None:
    """Ask for the name."""
    st.text_input("Your name", key=AUTHOR, max_chars=MAX_NAME, placeholder="Your name, for edits and votes",
                  label_visibility="collapsed")  # fmt: skip
    if str(st.session_state[AUTHOR] or "").strip() and not typed_name():
        st.caption(":red[A name has printable characters only.]")


def typed_name() -> str:
    """The name; empty if there is none that can be stored."""
    try:
        return people.check_author(str(st.session_state.get(AUTHOR) or ""))
    except UsageError:
        return ""


def show_outcome() -> None:
    """Report what the last click did, if it failed or there is something to say."""
    outcome = st.session_state.pop(_OUTCOME, None)
    if isinstance(outcome, str):
        st.toast(outcome)
    elif outcome is not None:
        show_error(outcome, "This was not saved.")


def save_edit(run_dir: Path, id_: str, old: str, key: str, author: str) -> None:
    """Append the text in the input `key` as an edit of the explanation `id_`, whose text is `old`."""
    text = _typed(key)
    if text.strip() in (old.strip(), editable(old).strip()):
        st.session_state[_OUTCOME] = "The text is unchanged, so nothing was written."
        return
    _write(run_dir, "Edit saved.", lambda reader: people.edit(run_dir, id_, text, author, reader=reader))


def save_first(run_dir: Path, at: NeuronPole, key: str, author: str) -> None:
    """Append the text in the input `key` as an explanation of a pole that has none."""
    text = _typed(key)
    _write(
        run_dir, "Explanation saved.",
        lambda reader: people.edit(run_dir, at, text, author, set_name=HUMAN_SET, reader=reader),
    )  # fmt: skip


def save_vote(run_dir: Path, id_: str, value: Literal[1, -1, 0], author: str) -> None:
    said = "Vote saved." if value else "Vote withdrawn."
    _write(run_dir, said, lambda reader: people.vote(run_dir, id_, value, author, reader=reader))


def save_lock(run_dir: Path, id_: str, author: str, *, locked: bool) -> None:
    change = people.lock if locked else people.unlock
    _write(run_dir, "Locked." if locked else "Unlocked.", lambda reader: change(run_dir, id_, author, reader=reader))


def save_note(run_dir: Path, id_: str, key: str, author: str) -> None:
    """Append the note typed in the input `key`, which is emptied."""
    text = _typed(key)
    if _write(run_dir, "Note saved.", lambda reader: people.note(run_dir, id_, text, author, reader=reader)):
        st.session_state[key] = ""


def editable(text: str) -> str:
    """The text for an input: without control characters, characters that change the direction, and surrogates."""
    return "".join(c for c in text if c in _KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def _typed(key: str) -> str:
    return str(st.session_state.get(key) or "")


def _write(run_dir: Path, done: str, add: Callable[[Explanations | None], Entry]) -> bool:
    try:
        shared(run_dir).write(add)
    except (ProjectError, OSError) as e:
        st.session_state[_OUTCOME] = e
        return False
    st.session_state[_OUTCOME] = done
    return True
