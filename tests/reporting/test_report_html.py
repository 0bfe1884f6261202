"""The one escaping function, and the elements made with it."""

from __future__ import annotations

import hypothesis
from hypothesis import strategies as st
from report_pages import Page

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.parts import Column as C
from neuron_signatures.reporting.parts import code, fold, table
from neuron_signatures.reporting.svg import Scale, histogram, ticks


def test_strings_are_escaped_and_html_is_not():
    assert el("b", "<i>&\"'", Html("<i>x</i>")) == "<b>&lt;i&gt;&amp;&quot;&#x27;<i>x</i></b>"
    assert el("a", "x", href='"><script>', class_="c") == '<a href="&quot;&gt;&lt;script&gt;" class="c">x</a>'


def test_controls_bidi_and_surrogates_become_visible_escapes():
    assert text("a\x1b[31m\u202eb\ud800\x00") == "a\\x1b[31m\\u202eb\\ud800\\x00"


@hypothesis.given(st.text(), st.text())
def test_no_text_adds_an_element_or_an_attribute(inside, attribute):
    page = Page(join([el("p", inside, title=attribute), table([C(inside)], [[inside]]), fold(inside, code(inside))]))
    names = [name for name, _ in page.tags]
    assert set(names) <= {"p", "div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code", "span"}
    assert page.tags[0][1].keys() == {"title"} and not page.unbalanced and not page.open


@hypothesis.given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_numbers_within_the_ends(low, span):
    found = ticks(low, low + span)
    assert found and all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in found) and len(found) <= 12


def test_a_scale_maps_its_ends_and_keeps_what_is_beyond_in_sight():
    scale = Scale(0.0, 1.0, 10.0, 110.0)
    assert (scale.at(0.0), scale.at(0.5), scale.at(1.0)) == (10.0, 60.0, 110.0)
    assert scale.at(50.0) == 112.0 and scale.at(-50.0) == 8.0
    assert Scale(1.0, 100.0, 0.0, 10.0, log=True).at(10.0) == 5.0


def test_a_histogram_without_finite_values_is_empty():
    assert histogram([], [], "x") == "" and histogram([float("nan")], [], "x") == ""
    assert "nullline" in histogram([0.5], [0.1, 0.2], "x")
