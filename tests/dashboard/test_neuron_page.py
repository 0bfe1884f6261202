"""The Neuron view's first lines, its colour scale, pins and the Compare view."""

from __future__ import annotations

import json

import numpy as np
import pytest
from analysis_runs import BOS, make_run
from explorer import HOSTILE, hostile_run, html_of, open_page, read_as_markdown, shown

from neuron_signatures.dashboard.neuron.summary import signature_line
from neuron_signatures.dashboard.pages.compare import shared_prompts
from neuron_signatures.dashboard.shell.link import link
from neuron_signatures.views.neurons.facts import Signature

AT = {"view": "neuron", "layer": "4", "neuron": "178"}
PROMPTS = {"first": [BOS, " a", " b"], "second": [BOS, *(" c" for _ in range(20))], "third": [BOS, " a"]}


def dense_run(path) -> None:
    """L0N0 is always negative, L0N1 is 0.2 everywhere but for one 8 in the last prompt."""
    acts = {k: np.zeros((1, len(t), 2), np.float32) for k, t in PROMPTS.items()}
    for i, values in enumerate(acts.values()):
        values[0, :, 0] = -5 - 0.1 * np.arange(values.shape[1]) - i
        values[0, :, 1] = 0.2
    acts["third"][0, 1, 1] = 8
    make_run(path, PROMPTS, acts)


def part(page, name: str) -> list[str]:
    return [body for body in html_of(page) if f'class="{name}' in body]


def test_what_it_writes_and_where_it_fires_stand_before_the_prompts_and_the_statistics(demo, monkeypatch):
    page = open_page(demo, monkeypatch, **AT)
    blocks = html_of(page)
    order = [next(i for i, b in enumerate(blocks) if what in b)
             for what in ("L4N178</span>", 'class="ns-sum"', 'class="ns-heat"', ">over the run<")]  # fmt: skip
    assert order == sorted(order) and not page.exception
    (summary,) = part(page, "ns-sum")
    assert 'title="id ' in summary and "per unit of activation" in summary
    assert summary.index(">promotes<") < summary.index(">suppresses<") < summary.index("fires at")


def test_the_tokens_of_a_negative_pole_are_those_that_a_negative_activation_promotes(demo, monkeypatch):
    path = demo / "demo" / "analysis" / "influence_seed_prompt_dla_next_token_pos8_tok704_write_scores.json"
    own = json.loads(path.read_text())["neurons"]
    for n in own[:3]:
        page = open_page(demo, monkeypatch, view="neuron", layer=str(n["layer"]), neuron=str(n["neuron"]))
        (summary,) = part(page, "ns-sum")
        up, down = (summary.index(f"id {n[side][0]['token_id']},") for side in ("promotes", "suppresses"))
        assert (up < down) == ("writes at +" in summary)


def test_the_first_prompts_are_the_selected_one_and_the_largest(tmp_path, monkeypatch):
    dense_run(tmp_path / "run")
    heat = part(open_page(tmp_path, monkeypatch, view="neuron", layer="0", neuron="1"), "ns-heat")[0]
    at = [heat.index(title) for title in ("this prompt: 0  first", "2  third, largest |act| 8", "1  second")]
    assert at == sorted(at)


def test_one_colour_scale_over_the_run_unless_chosen_otherwise(tmp_path, monkeypatch):
    dense_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view="neuron", layer="0", neuron="1")
    heat = part(page, "ns-heat")[0]
    assert heat.count("rgba(52,211,153,1.000)") == 1 and "+8</span>" in heat  # .2 does not look like 8
    page.segmented_control(key="ui_normalise").set_value("prompt").run()
    assert part(page, "ns-heat")[0].count("rgba(52,211,153,1.000)") > 20 and not page.exception


def test_a_neuron_that_is_always_on_is_relative_to_its_mean_until_the_user_chooses(tmp_path, monkeypatch):
    dense_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view="neuron", layer="0", neuron="0")
    heat = part(page, "ns-heat")[0]
    assert page.segmented_control(key="show").value == "relative"
    assert "L0N0 is always on: negative at 23 of 23 tokens of the run" in shown(page)
    assert "rgba(52,211,153" in heat and "act -5.1, +" in heat and "std from the mean" in heat
    page.segmented_control(key="show").set_value("activation").run()
    heat = part(page, "ns-heat")[0].partition("</style>")[2].partition("</i>")[2]
    assert "rgba(52,211,153" not in heat and "std from" not in heat
    page.sidebar.number_input(key="neuron").set_value(1).run()
    page.segmented_control(key="show").set_value("relative").run()
    assert page.segmented_control(key="show").value == "relative" and not page.exception
    page.sidebar.number_input(key="neuron").set_value(0).run()
    assert page.segmented_control(key="show").value == "relative"


def test_without_signatures_the_tokens_with_the_largest_activations_are_shown(tmp_path, monkeypatch):
    dense_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view="neuron", layer="0", neuron="1")
    (summary,) = part(page, "ns-sum")
    assert "fires at +" in summary and summary.index("·a<") < summary.index("·b<") and "fires at -" not in summary
    assert "--mode signatures" in shown(page) and "--mode write_scores" in shown(page)


def test_names_that_mean_words_are_in_quotes_and_one_prompt_is_no_plural():
    s = Signature("+", "semantic", "state", 8, 1, 8.875, "state", 1.0, 0.6756, 1.0, None, None)
    assert signature_line(s) == (
        'semantic "state" (n 8); peaks most often on "state", 100% (68% to 100%) of 8 different texts; '
        "active in 1 prompt, largest peak 8.875"
    )
    assert signature_line(s._replace(n_active=0)) == "never active"
    assert "peaks most often on white space, 100%" in signature_line(s._replace(mode_peak_token=""))


def test_hostile_tokens_in_the_first_lines_stay_text(tmp_path, monkeypatch):
    hostile_run(tmp_path / "bad")
    page = open_page(tmp_path, monkeypatch, view="neuron", pins="L0N0,L1N1")
    page.button(key="compare").click().run()
    assert not page.exception and len(part(page, "ns-sum")) == 2
    for body in html_of(page):
        for tag in ("<img", "<iframe", "<script", 'onerror="', "</div></style>"):
            assert tag not in body
    assert "EVIL" not in read_as_markdown(page) and "EVIL" in "".join(html_of(page)) and len(HOSTILE) > 5


# Links and pins


def test_a_link_has_the_pages_own_host_and_the_selection():
    parts = {"run": "a b", "prompt": "![x](y)", "pins": "L3N508,L4N178"}
    assert link("http://127.0.0.1:8501/?old=1#x", parts) == (
        "http://127.0.0.1:8501/?run=a+b&prompt=%21%5Bx%5D%28y%29&pins=L3N508,L4N178"
    )


def test_the_link_block_is_the_address(demo, monkeypatch):
    page = open_page(demo, monkeypatch, **AT)
    (block,) = [c.value for c in page.code if "view=neuron" in c.value]
    for key, value in page.query_params.items():
        assert f"{key}={value[0] if isinstance(value, list) else value}" in block


def pins_of(page) -> str:
    value = page.query_params.get("pins", "")
    return value[0] if isinstance(value, list) else value


def test_pinned_neurons_are_in_the_address_and_stand_side_by_side(demo, monkeypatch):
    page = open_page(demo, monkeypatch, **AT)
    assert "Compare" not in page.segmented_control(key="view").options and not pins_of(page)
    page.button(key="pin").click().run()
    assert "Compare" in page.segmented_control(key="view").options
    assert pins_of(page) == "L4N178" and page.button(key="pin").label == "Unpin"
    page.sidebar.text_input(key="jump").set_value("L3N508").run()
    page.button(key="pin").click().run()
    assert pins_of(page) == "L4N178,L3N508"
    page.button(key="compare").click().run()
    assert page.query_params["view"] in ("compare", ["compare"]) and not page.exception
    assert len(part(page, "ns-sum")) == 2 and len(part(page, "ns-heat")) == 2
    titles = [body.count('class="p"') for body in part(page, "ns-heat")]
    assert titles[0] == titles[1] > 3  # the same prompts
    again = open_page(demo, monkeypatch, view="compare", pins="L4N178,L3N508")
    assert part(again, "ns-heat") == part(page, "ns-heat")
    page.button(key="compare_unpin_L4N178").click().run()
    assert pins_of(page) == "L3N508" and len(part(page, "ns-sum")) == 1
    page.button(key="compare_unpin_L3N508").click().run()
    assert "No neuron is pinned" in shown(page) and not page.exception


def test_no_more_than_four_neurons_are_pinned(demo, monkeypatch):
    page = open_page(demo, monkeypatch, **AT, pins="L1N1,L1N2,L3N3,L4N4")
    assert page.button(key="pin").disabled and page.button(key="compare").label == "Compare (4)"
    page = open_page(demo, monkeypatch, **AT, pins="L1N1,L1N2,L3N3,L4N178")
    assert not page.button(key="pin").disabled and page.button(key="pin").label == "Unpin"
    page = open_page(demo, monkeypatch, **AT, pins="L2N1,<b>")  # layer 2 is not stored
    assert not pins_of(page) and shown(page).count("pins: ") == 2 and "<b>" not in read_as_markdown(page)


@pytest.mark.parametrize(
    ("selected", "largest", "shown"),
    [(0, [[1.0, 5, 3, 4, np.nan]], [0, 1, 3, 2]), (4, [[1, 2, 3, 4, 5], [5, 4, 3, 2, np.nan]], [4, 3, 2, 0, 1]),
     (1, [[np.nan, np.nan]], [1])],
)  # fmt: skip
def test_compared_prompts_are_the_selected_one_and_the_largest_of_each(selected, largest, shown):
    assert shared_prompts(selected, [np.array(v, float) for v in largest]) == shown
