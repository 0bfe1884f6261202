"""Tokens are hostile input: whatever they hold, what is shown obeys nobody and keeps its width (F37, F38)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.runs.tokens import ascii_token, escape, fit, visible, width


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Austin", "·Austin"), ("Austin", "Austin"), ("  ", "··"), ("a b ", "a b·"), ("\n", "⏎"), ("\t\tx", "⇥⇥x"),
        ("\r\n", "␍⏎"), ("\x1b[31m", "\\x1b[31m"), ("\x9b", "\\x9b"), ("\u202e", "\\u202e"), ("\u0301", "\\u0301"),
        ("é", "é"), ("日本", "日本"), ("\U000e0001", "\\U000e0001"), ("", ""), ("[/bold]", "[/bold]"),
    ],
)  # fmt: skip
def test_a_token_is_shown_with_its_edges_and_without_its_powers(token, shown):
    assert visible(token) == shown


def test_austin_with_and_without_a_space_are_different():
    assert visible(" Austin") != visible("Austin")


@given(st.text())
def test_nothing_shown_is_a_control(text):
    for shown in (escape(text), visible(text), ascii_token(text)):
        assert all(c.isprintable() for c in shown)
    assert ascii_token(text).isascii()


@given(st.text(), st.integers(1, 40))
def test_columns_keep_their_width(text, columns):
    assert width(fit(visible(text), columns)) == columns
