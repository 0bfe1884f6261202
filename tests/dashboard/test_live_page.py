"""The view Live with hand-made answers: without a server, without a model, another model, text, edit, problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from explorer import HOSTILE, open_page, plain_run, read_as_markdown, shown
from fake_live import FakeClient, absent, facts, known, live_page, no_server
from record_runs import make_record_run
from streamlit.testing.v1 import AppTest

from neuron_signatures.api.live import (
    ActivationsRequest,
    GenerateRequest,
    InfluenceRequest,
    InterveneRequest,
    NextTokenRequest,
)
from neuron_signatures.api.models import LoadRequest, ModelState
from neuron_signatures.client import ServerProblem


def run_text(page: AppTest, text: str | None = None) -> AppTest:
    """Submit the text (by default what is in the box)."""
    if text is not None:
        page.text_area("live_text").set_value(text)
    next(b for b in page.button if b.label == "Run").click()
    return page.run()


def apply(page: AppTest, neurons: str, **inputs: Any) -> AppTest:
    page.text_input("ui_live_edited").set_value(neurons).run()
    for key, value in inputs.items():
        kind = {"kind": page.selectbox, "where": page.selectbox, "value": page.number_input}[key]
        kind(f"ui_live_{key}").set_value(value).run()
    return page.button("live_apply").click().run()


def chosen(page: AppTest, layer: int, neuron: int) -> AppTest:
    page.text_input("live_typed_neuron").set_value(f"L{layer}N{neuron}")
    return page.run()


def test_without_a_server_the_command_is_shown_and_nothing_else_is_affected(demo: Path):
    client = absent()
    page = live_page(demo, client).run()
    assert not page.exception and not page.error
    assert f"python -m neuron_signatures.serve --model_name demo --runs_root {demo} --port 8600" in shown(page)
    assert not page.text_area
    page.segmented_control(key="view").set_value("overview").run()
    assert not page.exception and "Gemma2ForCausalLM" in shown(page)

    page.segmented_control(key="view").set_value("live").run()
    client.problems = {}
    page.button("live_retry").click().run()
    assert "demo: 5 layers of 512 neurons, fp32 on cpu" in shown(page) and page.text_area


def test_a_server_that_refuses_is_not_told_to_be_started(demo: Path):
    client = FakeClient()
    client.problems["health"] = ServerProblem("unauthorized", "wrong token", status=401, next_step="Set the token")
    text = shown(live_page(demo, client).run())
    assert "wrong token. Set the token" in text and "neuron_signatures.serve" not in text


def test_an_address_that_is_none_is_one_line(demo: Path, monkeypatch):
    page = open_page(demo, monkeypatch, "--server", "ftp://x", view="live")
    assert not page.exception and "is not an http or https address" in shown(page)


def test_without_a_model_one_can_be_loaded_and_a_failure_is_shown(demo: Path):
    client = FakeClient(ModelState(state="none"))
    page = live_page(demo, client).run()
    assert "has no model loaded" in shown(page)
    assert next(b for b in page.button if b.label == "Run").disabled
    options = page.selectbox("ui_live_model").options
    assert options[0].startswith("demo") and "does not fit" in options[2] and "gated" in options[2]
    page.selectbox("ui_live_model").set_value("smollm2").run()
    page.selectbox("ui_live_quantization").set_value("4bit").run()
    page.button("live_load").click().run()
    assert client.asked == [LoadRequest(model_name="smollm2", quantization="4bit")]
    assert "Loading smollm2" in shown(page)

    client.state = ModelState(state="failed", model_name="smollm2", failure="no space left")
    page.run()
    assert "smollm2 could not be loaded" in shown(page) and "no space left" in shown(page)
    client.problems["load_model"] = ServerProblem("forbidden", "this model is not on the list", status=403)
    page.button("live_load").click().run()
    assert "this model is not on the list" in shown(page) and not page.exception


def test_the_selected_prompt_is_run_and_asked_once(demo: Path):
    client = FakeClient(runs=demo)
    page = live_page(demo, client).run()
    assert page.text_area("live_text").value == "The capital of the state containing Dallas is"
    assert page.selectbox("live_bos").value == "prepend" and client.asked == []
    run_text(page)
    assert not page.exception
    asked = client.asked[0]
    assert isinstance(asked, NextTokenRequest) and (asked.text, asked.bos) == (
        page.text_area("live_text").value,
        "prepend",
    )
    prediction, neurons = (f.value for f in page.dataframe[:2])
    assert prediction["token"][0] == "·Austin" and prediction["probability"][0] == 0.78
    assert neurons["neuron"].tolist() == ["L3N508+", "L3N14-"] and neurons["z"].tolist() == [8.0, -8.0]
    assert "relative to run demo, 78 tokens" in shown(page)

    before = len(client.asked)
    page.run()
    page.segmented_control(key="view").set_value("overview").run()
    page.segmented_control(key="view").set_value("live").run()
    assert len(client.asked) == before and page.dataframe[0].value["token"][0] == "·Austin"


def test_a_typed_text_a_position_and_a_target(demo: Path):
    client = FakeClient(runs=demo)
    page = run_text(live_page(demo, client).run(), "Some other text")
    page.selectbox("ui_live_pos").set_value(3).run()
    assert (client.asked[-2].pos, client.asked[-1].positions) == (3, [3])
    page.text_input("ui_live_target").set_value("·Boston").run()
    asked = next(r for r in reversed(client.asked) if isinstance(r, NextTokenRequest))
    assert (asked.text, asked.pos, asked.tokens) == ("Some other text", 3, (" Boston",))
    page.segmented_control("ui_live_what").set_value("influence").run()
    asked = next(r for r in reversed(client.asked) if isinstance(r, InfluenceRequest))
    assert (asked.on.pos, asked.on.target, asked.metric) == (3, " Boston", "relp")
    assert page.dataframe[1].value["neuron"].tolist() == ["L4N178-"]
    assert "logit of ·Austin" in shown(page) and "25.0 %" in shown(page)


def test_a_target_of_two_tokens_is_one_line(demo: Path):
    client = FakeClient(runs=demo)
    page = run_text(live_page(demo, client).run())
    client.problems["next_token"] = ServerProblem("invalid_request", "' New York' is 2 tokens", status=422)
    page.text_input("ui_live_target").set_value(" New York").run()
    page.segmented_control("ui_live_what").set_value("influence").run()
    assert "' New York' is 2 tokens" in shown(page) and not client.count(InfluenceRequest) and not page.exception


def test_a_neuron_is_coloured_and_compared_with_the_run(demo: Path):
    client = FakeClient(runs=demo)
    page = chosen(run_text(live_page(demo, client).run()), 3, 508)
    text = shown(page)
    assert "L3N508 on this text" in text and 'class="ns-heat"' in text and "run: promotes" in text
    page.button("live_edit_this").click().run()
    chosen(page, 4, 178)
    page.button("live_edit_add").click().run()
    assert page.text_input("ui_live_edited").value == "L3N508, L4N178"
    page.text_input("live_typed_neuron").set_value("L9N1").run()
    assert "the live model has no L9N1" in shown(page)
    page.button("live_open").click().run()
    assert page.query_params["view"] in ("neuron", ["neuron"]) and "L4N178" in shown(page)


def test_an_edit_shows_both_predictions_the_null_and_both_texts(demo: Path):
    client = FakeClient(runs=demo)
    page = apply(run_text(live_page(demo, client).run()), "L3N508 4/178", kind="set", value=2.5, where="here")
    request = next(r for r in client.asked if isinstance(r, InterveneRequest))
    assert [(e.layer, e.neurons, e.kind, e.value, e.positions) for e in request.edits] == [
        (3, [508], "set", 2.5, [8]), (4, [178], "set", 2.5, [8]),
    ]  # fmt: skip
    assert request.controls == 20 and client.count(GenerateRequest) == 1
    text = shown(page)
    assert "The answer changes: ·Austin 78.0 % → ·Boston 60.0 %" in text
    assert "-5.800 logits" in text and "+0.01 ± 0.05 logits" in text and "≤ 0.048" in text and "0.83 nats" in text
    assert " Boston." in text and "without the edit" in text
    changes = page.dataframe[2].value
    assert changes["token"].tolist() == ["·Austin", "·Boston"] and changes["rank after"].tolist() == [1, 0]

    page.selectbox("ui_live_kind").set_value("flip").run()
    page.selectbox("ui_live_pos").set_value(5).run()
    changed = "Position, target or edit have changed since"
    assert changed in shown(page) and "after position 8" in shown(page) and client.count(InterveneRequest) == 1
    page.button("live_apply").click().run()
    request = [r for r in client.asked if isinstance(r, InterveneRequest)][-1]
    assert request.on.pos == 5 and request.edits[0].positions == [5] and request.edits[0].kind == "flip"
    assert "flip: L3N508, L4N178, at position 5" in shown(page) and changed not in shown(page)

    run_text(page, "Another text")  # an edit is of the positions of its text
    assert "The answer changes" not in shown(page) and client.count(InterveneRequest) == 2


def test_the_neurons_with_influence_are_edited_as_the_estimate_says(demo: Path):
    client = FakeClient(runs=demo)
    page = run_text(live_page(demo, client).run())
    page.segmented_control("ui_live_what").set_value("influence").run()
    assert "adds up to +2.250" in shown(page)
    page.button("live_edit_first").click().run()
    page.button("live_apply").click().run()
    edit = next(r for r in client.asked if isinstance(r, InterveneRequest)).edits[0]
    assert (edit.layer, edit.neurons, edit.kind, edit.positions) == (4, [178], "mean", [8])
    assert edit.reference_run == "run:demo"  # of the prompts: the run has no records
    asked = next(r for r in client.asked if isinstance(r, InfluenceRequest))
    assert asked.reference == "run:demo"


@pytest.mark.parametrize(
    ("neurons", "says"),
    [("", "no neuron is given"), ("L3N508 x", "'x' names no neuron"), ("L5N0", "the live model has no L5N0"),
     ("L3N512", "neurons 0..511")],
)  # fmt: skip
def test_a_wrong_edit_is_one_line_and_asks_nothing(demo: Path, neurons: str, says: str):
    client = FakeClient(runs=demo)
    page = apply(run_text(live_page(demo, client).run()), neurons)
    assert says in shown(page) and not client.count(InterveneRequest) and not page.exception


def test_a_lost_connection_keeps_the_page_and_what_was_typed(demo: Path):
    client = FakeClient(runs=demo)
    page = apply(run_text(live_page(demo, client).run(), "My text"), "L3N508")
    client.problems = absent().problems
    page.run()
    text = shown(page)
    assert "does not answer any more" in text and "The answer changes" in text and not page.exception
    assert page.text_area("live_text").value == "My text" and page.button("live_apply").disabled
    page.selectbox("ui_live_pos").set_value(2).run()
    assert "the server is not reachable" in shown(page) and not page.exception
    client.problems = {}
    page.button("live_retry").click().run()
    assert "does not answer any more" not in shown(page) and page.text_area("live_text").value == "My text"


@pytest.mark.parametrize("method", ["next_token", "activations", "intervene", "generate"])
def test_a_problem_of_one_part_is_one_line(demo: Path, method: str):
    client = FakeClient(runs=demo)
    client.problems[method] = ServerProblem(
        "queue_full", "the server is busy", status=429, next_step="Try again in 2 s"
    )
    page = run_text(live_page(demo, client).run())
    if method not in ("next_token",):
        page = apply(page, "L3N508")
    assert "the server is busy. Try again in 2 s" in shown(page) and not page.exception and not page.error
    client.problems = {}
    page.run()
    assert "the server is busy" not in shown(page)  # a problem is not kept


def test_another_model_is_said_and_the_run_says_nothing_of_its_neurons(demo: Path):
    state = ModelState(state="ready", model_name="smollm2", facts=facts(model_name="smollm2", n_layers=30, d_mlp=1536))
    client = FakeClient(state, runs=demo)
    page = chosen(run_text(live_page(demo, client).run()), 3, 508)
    text = shown(page)
    assert "not the model of the selected run" in text and "The server has smollm2, and this run is of demo" in text
    assert list(page.dataframe[1].value) == ["neuron", "act"] and "run: promotes" not in text
    assert all(r.against_run is None for r in client.asked if isinstance(r, ActivationsRequest))
    assert page.button("live_open").disabled
    page.button("live_load_run").click().run()
    assert client.asked[-1] == LoadRequest(model_name="demo", model_dtype="fp32", quantization="none")


def test_a_quantised_model_and_why(demo: Path):
    reason = "the weights need 8 MB and 5 MB are free"
    state = ModelState(state="ready", model_name="demo",
                       facts=facts(quantization="4bit", dtype="bf16", quantization_reason=reason))  # fmt: skip
    text = shown(live_page(demo, FakeClient(state)).run())
    assert f"Quantised: {reason}" in text and "bf16, 4bit on cpu" in text
    assert "precision bf16 instead of fp32, quantization 4bit instead of none: numbers differ" in text


def test_a_run_that_the_server_does_not_have_gives_no_z(demo: Path):
    client = FakeClient()
    page = run_text(live_page(demo, client).run())
    assert (
        "No z: the server has no run" in shown(page)
        and "start it with --runs_root" in shown(page)
        and "z" not in page.dataframe[1].value
    )
    assert "mean" not in page.selectbox("ui_live_kind").options[1]


def test_another_run_of_the_same_name_on_the_server_is_not_this_one(demo: Path, tmp_path: Path):
    plain_run(tmp_path / "elsewhere" / "demo")
    page = run_text(live_page(demo, FakeClient(runs=tmp_path / "elsewhere")).run())
    assert "No z" in shown(page)


def test_a_run_without_prompts(tmp_path: Path):
    make_record_run(tmp_path / "demo", n_documents=12, d_mlp=5)
    page = live_page(tmp_path, FakeClient()).run()
    assert page.text_area("live_text").value == "" and not page.exception
    run_text(page, "A text")
    assert page.dataframe[0].value["token"][0] == "·Austin" and not page.exception


def test_hostile_text_is_shown_as_text(tmp_path: Path):
    plain_run(tmp_path / "demo")
    evil = "".join(HOSTILE[1:]) + "\x1b[31m\u202e\n"
    state = ModelState(state="ready", model_name=evil, facts=facts(
        model_name=evil, architecture=evil, device=evil, quantization=evil, quantization_reason=evil,
    ))  # fmt: skip
    client = FakeClient(state, words=[*HOSTILE, "\x1b]0;x\x07", "\u202ex"], runs=tmp_path)
    client.listed = [known(evil, architecture=evil), known(HOSTILE[1])]
    client.problems["influence"] = ServerProblem("invalid_request", evil, status=422, next_step=evil)
    page = apply(chosen(run_text(live_page(tmp_path, client).run()), 3, 1), "L3N1")
    assert not page.exception and "EVIL" not in read_as_markdown(page)
    page.segmented_control("ui_live_what").set_value("influence").run()
    assert not page.exception and "EVIL" not in read_as_markdown(page)
    html = [e.proto.body for e in page.get("html")]
    assert not any(bad in body for body in html for bad in ("<img", "<iframe", "<script", "<b>EVIL", "\x1b", "\u202e"))
    client.state = ModelState(state="failed", model_name=evil, failure=evil)
    page.run()
    assert not page.exception and "EVIL" not in read_as_markdown(page)


def test_answers_that_cannot_be_right_are_one_line(demo: Path, monkeypatch):
    client = FakeClient(runs=demo)
    page = chosen(run_text(live_page(demo, client).run()), 3, 508)
    right = client.activations

    def wrong(request):
        answer = right(request)
        return answer.model_copy(update={"neurons": [n.model_copy(update={"acts": [0.0]}) for n in answer.neurons],
                                         "top": [t.model_copy(update={"layer": 99}) for t in answer.top]})  # fmt: skip

    monkeypatch.setattr(client, "activations", wrong)
    chosen(page, 4, 1)
    assert "has activations without a token" in shown(page) and not page.exception
    page.selectbox("ui_live_pos").set_value(2).run()
    assert "names a neuron that the model does not have" in shown(page) and not page.exception


def test_no_server_says_so_in_every_state(demo: Path):
    client = FakeClient(runs=demo)
    client.problems["memory"] = no_server()
    client.problems["models"] = no_server()
    page = live_page(demo, client).run()
    assert "Memory: not known" in shown(page) and "no server at" in shown(page) and not page.exception
