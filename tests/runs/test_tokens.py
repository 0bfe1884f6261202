"""Tokens are hostile input: shown text has no control characters and the expected width."""

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
def test_tokens_are_shown_with_visible_spaces_and_escapes(token, shown):
    assert visible(token) == shown


def test_austin_with_and_without_a_space_are_different():
    assert visible(" Austin") != visible("Austin")


@given(st.text())
def test_shown_text_has_no_control_characters(text):
    for shown in (escape(text), visible(text), ascii_token(text)):
        assert all(c.isprintable() for c in shown)
    assert ascii_token(text).isascii()


@given(st.text(), st.integers(1, 40))
def test_fitted_text_has_the_width_of_its_column(text, columns):
    assert width(fit(visible(text), columns)) == columns
