"""Positions of edits: their forms, and the message for each that makes no sense."""

from __future__ import annotations

import pytest
from intervention_cases import prompt_of_words

from neuron_signatures.interventions.choice.positions import parse_positions
from neuron_signatures.runs.errors import UsageError

PROMPT = prompt_of_words("<bos> In New York, USA, it is cold in New Jersey")  # 11 tokens
LAST = 10


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("last", (10,)),
        ("all", tuple(range(1, 11))),
        ("3", (3,)),
        ("-1", (10,)),
        ("-2,3, 3 ,1", (1, 3, 9)),
        ("last,10,-1", (10,)),
        ("entity:York", (3,)),
        ("entity:New York", (3,)),
        ("entity:Jersey,2", (2, 10)),
        ("entity:New York, USA", (4,)),
        ("entity:New York, USA, last", (4, 10)),
        ("entity:in New", (9,)),
        ("entity:s c", (7,)),  # in the middle of tokens: the one in which it ends
    ],
)
def test_the_forms(text, positions):
    assert parse_positions(text, PROMPT, last=LAST) == positions


def test_last_and_all_end_at_the_target():
    assert parse_positions("last", PROMPT, last=6) == (6,)
    assert parse_positions("all", PROMPT, last=3) == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "last", "message"),
    [
        ("0", 10, "position 0 has massive activations"),
        ("-11", 10, "position 0 has massive activations"),
        ("11", 10, "11 is not in a prompt of 11 tokens"),
        ("-12", 10, "-12 is not in a prompt of 11 tokens"),
        ("7", 6, "position 7 comes after the target's, 6"),
        ("-1", 6, "position 10 comes after the target's, 6"),
        ("", 10, "names no position"),
        ("first", 10, "'first' names no position"),
        ("1.5", 10, "names no position"),
        ("1,,2", 10, "names no position"),
        ("9999999999", 10, "names no position"),
        ("entity:", 10, "occurs 0 times"),
        ("entity:Boston", 10, "'Boston' occurs 0 times"),
        ("entity:New", 10, "'New' occurs 2 times"),
        ("entity:New York,first", 10, "occurs 0 times"),
        ("all", 0, "a prompt of one token has no position that can be edited"),
        ("last", 0, "position 0 has massive activations"),
    ],
)
def test_what_is_refused(text, last, message):
    with pytest.raises(UsageError) as error:
        parse_positions(text, PROMPT, last=last)
    assert message in str(error.value) and "--positions" in str(error.value) and "\n" not in str(error.value)
