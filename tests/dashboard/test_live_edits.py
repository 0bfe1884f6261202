"""What is typed as neurons and positions, and the sentences about edits and effects."""

from __future__ import annotations

import pytest
from fake_live import chance, facts, known

from neuron_signatures.api.live import Controls, InterveneAnswer, TargetAnswer
from neuron_signatures.dashboard.live import texts
from neuron_signatures.dashboard.live.address import DEFAULT_URL
from neuron_signatures.dashboard.live.answers import Answers
from neuron_signatures.dashboard.live.checks import BadAnswer, check_numbers
from neuron_signatures.dashboard.live.edits import Edit, parse_neurons, parse_positions
from neuron_signatures.dashboard.live.focus_panel import typed_token
from neuron_signatures.dashboard.live.model_panel import ordered_models
from neuron_signatures.dashboard.live.sheets import change_sheet
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.coords import NeuronAt


def answer(**changed) -> InterveneAnswer:
    before = TargetAnswer(pos=1, target=chance(" Austin", 0.7, 0), foil=None, value=7.0)
    values = {
        "tokens": [], "before": before, "after": before, "effect": 0.0, "kl": 0.0, "controls": None, "warnings": [],
        "top_before": [chance(" Austin", 0.7, 0), chance(" a", 0.2, 1)],
        "top_after": [chance(" Austin", 0.6, 0), chance(" b", 0.3, 1, 999)],
    }  # fmt: skip
    return InterveneAnswer(**{**values, **changed})


def test_neurons_are_read_in_both_spellings_once_each():
    assert parse_neurons(" L3N508, 3/508; l4n178-  0/0", facts()) == ((3, 508), (4, 178), (0, 0))


@pytest.mark.parametrize(
    "text", ["", " , ", "L5N0", "L0N512", "508", "L3N508x", "L-1N3", "\uff13/508", "L3N508 and L4N1"]
)
def test_what_names_no_neuron_of_the_model_is_refused(text):
    with pytest.raises(UsageError):
        parse_neurons(text, facts())


def test_positions_count_from_the_end_too():
    assert parse_positions("3, 0 -1", 9) == (0, 3, 8)
    for text in ("", "9", "-10", "1.5", "x", "1-3"):
        with pytest.raises(UsageError):
            parse_positions(text, 9)


def test_an_edit_has_one_message_per_layer_and_a_value_only_if_its_kind_takes_one():
    neurons = (NeuronAt(4, 2), NeuronAt(1, 7), NeuronAt(4, 1))
    scaled = Edit(neurons, "scale", 2.0, None, "run:demo").messages()
    assert [(m.layer, m.neurons, m.value, m.positions, m.reference_run) for m in scaled] == [
        (1, [7], 2.0, None, None), (4, [2, 1], 2.0, None, None),
    ]  # fmt: skip
    zeroed = Edit(neurons, "zero", 2.0, (1, 2), "run:demo").messages()
    assert {(m.value, tuple(m.positions)) for m in zeroed} == {(0.0, (1, 2))}
    assert {m.reference_run for m in Edit(neurons, "mean", 0.0, (1,), "run:demo").messages()} == {"run:demo"}


@pytest.mark.parametrize(
    ("edit", "text"),
    [(Edit((NeuronAt(4, 2),), "zero", 0.0, None, None), "zero: L4N2, at all positions and in new text"),
     (Edit((NeuronAt(4, 2),), "add", -2.5, (3,), None), "add -2.5: L4N2, at position 3"),
     (Edit((NeuronAt(4, 2),), "scale", 2.0, (1, 2, 3), None), "scale by 2: L4N2, at positions 1 to 3"),
     (Edit((NeuronAt(4, 2),), "flip", 2.0, (1, 3), None), "flip: L4N2, at positions 1, 3")],
)  # fmt: skip
def test_an_edit_in_words(edit, text):
    assert edit.text() == text


def test_a_dot_stands_for_a_leading_space():
    assert [typed_token(t) for t in ("·Austin", " Austin", "Austin", "··x", "a·b", "", None)] == [
        " Austin", " Austin", "Austin", "  x", "a·b", None, None,
    ]  # fmt: skip


def test_a_token_that_only_one_side_lists_has_no_change():
    sheet = change_sheet(answer())
    rows = {row[0]: row[1:] for row in sheet.rows}
    assert rows["·Austin"][:2] == [0.7, 0.6] and rows["·Austin"][2] == pytest.approx(-1.0)
    assert rows["·a"][:3] == [0.2, None, None] and rows["·b"][:3] == [None, 0.3, None]


def test_the_smallest_p_of_the_draws_is_a_bound():
    at_bound = Controls(n=20, mean=0.0, std=0.5, largest=0.3, p=1 / 21)
    assert texts.p_text(at_bound).startswith("≤ 0.048") and "cannot give less than 0.048" in texts.p_text(at_bound)
    assert texts.p_text(Controls(n=20, mean=0.0, std=0.5, largest=0.3, p=0.5)).startswith("0.5,")
    undefined = Controls(n=20, mean=None, std=None, largest=None, p=None)
    assert texts.p_text(undefined) == "undefined" and texts.null_text(undefined, 1.0, 1).endswith("undefined")
    assert "-4.0 std from that mean" in texts.null_text(at_bound, -2.0, 1)
    assert "std from" not in texts.null_text(Controls(n=20, mean=0.0, std=0.0, largest=0.0, p=1.0), 0.0, 1)


def test_the_verdict_compares_the_most_likely_tokens():
    assert texts.verdict(answer()) == "The answer stays ·Austin: 70.0 % → 60.0 %"
    assert texts.verdict(answer(top_after=[])) == "The server lists no token."


def test_the_run_s_model_is_first_then_those_that_fit():
    models = [known("a", fits="no"), known("b"), known("c", fits=None), known("d", fits="4bit"), known("e", fits="no")]
    assert [m.model_name for m in ordered_models(models, "e")] == ["e", "b", "d", "c", "a"]


def test_the_last_answers_are_kept():
    kept = Answers(most=2)
    for key in "abac":  # b is the one that was not used
        if kept.get(key) is None:
            kept.keep(key, facts())
    assert len(kept) == 2 and kept.get("b") is None and kept.get("a") is not None


def test_numbers_that_no_table_can_hold_are_refused():
    check_numbers(facts())
    with pytest.raises(BadAnswer, match="too large"):
        check_numbers(facts(parameters=10**30))


def test_the_usual_address_is_that_of_the_client():
    from neuron_signatures.client.address import DEFAULT_URL as OF_CLIENT

    assert DEFAULT_URL == OF_CLIENT
