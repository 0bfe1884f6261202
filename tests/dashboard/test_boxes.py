"""Number inputs: the page uses the number that is shown."""

from __future__ import annotations

import pytest
from explorer import html_of, open_page, shown
from streamlit.testing.v1 import AppTest

ABLATION = "influence_seed_prompt_ablation_next_token_pos8_tok704"


def _one_box() -> None:
    import streamlit as st

    from neuron_signatures.dashboard.widgets.number_input import whole_number

    st.text(whole_number("N", "ui_n", low=2, high=50, default=8))


def state(page: AppTest) -> tuple[float, str]:
    """The number shown and the number used."""
    return page.number_input[0].value, page.text[0].value


@pytest.mark.parametrize("typed", [999, 1, -3, 2.5, 1e20, 1e300])
def test_an_invalid_number_gives_a_message_and_changes_nothing(typed):
    page = AppTest.from_function(_one_box).run()
    page.number_input[0].set_value(20).run()
    assert state(page) == (20, "20") and not page.caption
    page.number_input[0].set_value(typed).run()
    assert state(page) == (20, "20") and f"{typed:.12g} is not a whole number from 2 to 50" in page.caption[0].value
    page.number_input[0].set_value(50).run()
    assert state(page) == (50, "50") and not page.caption and not page.exception


def test_an_emptied_input_is_reset_to_its_default():
    page = AppTest.from_function(_one_box).run()
    page.number_input[0].set_value(20).run()
    page.number_input[0].set_value(None).run()
    assert state(page) == (8, "8") and not page.caption


@pytest.mark.parametrize("view", ["neuron", "map", "query"])
def test_the_browser_gets_no_bounds(demo, monkeypatch, view):
    """With bounds, the browser shows an invalid number but does not send it to the server."""
    page = open_page(demo, monkeypatch, view=view, list=ABLATION)
    boxes = [*page.number_input, *page.sidebar.number_input]
    assert len(boxes) > 6 and [(b.key, b.min, b.max) for b in boxes if (b.min, b.max) != (None, None)] == []


def test_an_invalid_neuron_leaves_the_input_unchanged(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", list=ABLATION)

    def box():
        return page.sidebar.number_input(key="neuron")

    first = box().value
    box().set_value(99999).run()
    assert "99999 is not a whole number from 0 to 511" in shown(page) and box().value == first
    assert page.query_params["row"] in ("1", ["1"]) and not page.exception
    page.sidebar.button(key="step1").click().run()
    assert "not a whole number" not in shown(page) and box().value != first
    assert f"N{box().value:.0f}" in "".join(html_of(page))


def test_emptied_inputs_of_filters_map_and_query_are_reset(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", list=ABLATION)
    page.sidebar.number_input(key="ui_top_k").set_value(7).run()
    assert "7 of 1,536 rows" in shown(page)
    page.sidebar.number_input(key="ui_top_k").set_value(None).run()
    assert page.sidebar.number_input(key="ui_top_k").value == 200 and len(page.dataframe[0].value) == 200
    page.segmented_control(key="view").set_value("query").run()
    page.selectbox(key="ui_query_set").set_value("list").run()
    page.number_input(key="ui_query_first").set_value(5).run()
    assert "over 5 neurons" in "".join(html_of(page))
    page.number_input(key="ui_query_first").set_value(None).run()
    assert page.number_input(key="ui_query_first").value == 20 and "over 20 neurons" in "".join(html_of(page))


def test_the_map_computes_the_number_of_clusters_shown(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="map")
    for typed, k in ((999, 8), (4, 4), (None, 8)):
        page.number_input(key="ui_map_k").set_value(typed).run()
        assert page.number_input(key="ui_map_k").value == k and f"k-means, k = {k}," in "".join(html_of(page))


def test_the_map_reports_a_reduced_perplexity(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="map")
    page.number_input(key="ui_map_neurons").set_value(20)
    page.radio(key="ui_map_projection").set_value("t-SNE").run()
    assert page.number_input(key="ui_map_perplexity").value == 30
    assert "perplexity 6, the maximum for 20 neurons" in "".join(html_of(page))
    page.number_input(key="ui_map_perplexity").set_value(5).run()
    assert "perplexity 5</span>" in "".join(html_of(page))


def test_the_query_reports_a_minimum_above_one(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="query")
    assert "or more" not in "".join(html_of(page))
    page.number_input(key="ui_query_min").set_value(99999).run()
    assert page.number_input(key="ui_query_min").value == 1 and "99999 is not a whole number" in shown(page)
    page.number_input(key="ui_query_min").set_value(2).run()
    assert "of them with at least 2 occurrences, largest mean first" in "".join(html_of(page))
