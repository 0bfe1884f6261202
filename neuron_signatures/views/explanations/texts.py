"""Texts of explanations for display: escaped, on one line or as paragraphs."""

from __future__ import annotations

from collections.abc import Sequence

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.tokens import brief, escape
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations

MAX_LINE = 1000
"""Characters of a text of which one line is shown."""


def one_line(text: str) -> str:
    """The text on one line, escaped: `⏎` marks a line break, `…` at the end that there is more."""
    parts = (" ".join(escape(part).split()) for part in _lines(text[:MAX_LINE]))
    shown = " ⏎ ".join(p for p in parts if p)
    return f"{shown} …" if len(text) > MAX_LINE else shown


def paragraphs(text: str) -> list[str]:
    """The text as lines, each escaped; without empty lines at its ends, and with at most one between two others."""
    lines: list[str] = []
    for part in _lines(text.strip()):
        shown = escape(part.replace("\t", "    ")).rstrip()
        if shown or (lines and lines[-1]):
            lines.append(shown)
    return lines[:-1] if lines and not lines[-1] else lines


def text_or_why(view: ExplanationView) -> str:
    """What it says on one line; of a failed one, why, in brackets."""
    return row_text(view.entry.text, view.entry.status, view.entry.reason)


def row_text(text: str, status: str, reason: str) -> str:
    """As `text_or_why`, from its parts."""
    if status == "ok":
        return one_line(text) or "(the answer is empty)"
    return f"({status_words(status)}{f': {one_line(reason)}' if reason else ''})"


def status_words(status: str) -> str:
    """A status in words."""
    return status.replace("_", " ")


def short(found: NeuronExplanations, pole: Pole) -> str:
    """The explanation to read of one pole with its origin, on one line and escaped; empty if there is none."""
    first = found.pole(pole).first
    return "" if first is None else f"{one_line(first.entry.text)}  ({origin(first)})"


def origin(s: ExplanationView) -> str:
    """Set, or the person who wrote it, and the state, in a few words, escaped."""
    parts = [f"by {brief(s.author)}" if s.is_human else s.entry.set]
    if s.locked_by is not None:
        parts.append("locked")
    if not s.is_human and not s.is_finished:
        parts.append("set not finished")
    return ", ".join(parts)


def votes_text(s: ExplanationView) -> str:
    """Such as `+2 -1`; empty without votes."""
    return " ".join(filter(None, (f"+{s.n_up}" if s.n_up else "", f"-{s.n_down}" if s.n_down else "")))


def _lines(text: str) -> Sequence[str]:
    return text.replace("\r\n", "\n").split("\n")
