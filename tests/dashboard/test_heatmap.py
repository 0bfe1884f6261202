"""The token heatmap and exports: colours, escaping, and no active content."""

from __future__ import annotations

import html.parser
import io
import json

import numpy as np
import pandas as pd
import pytest
from explorer import HALF, HOSTILE

from neuron_signatures.dashboard.data.exports import csv_bytes, json_bytes, parquet_bytes
from neuron_signatures.dashboard.neuron import heatmap as heatmaps
from neuron_signatures.dashboard.neuron.colouring import Colouring, colouring_of
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, Line, document, opacity
from neuron_signatures.views.scale import Limit


def line(values, tokens=None, counts=None) -> Line:
    v = np.array(values, np.float32)
    tokens = tokens or [f" t{i}" for i in range(len(v))]
    return Line("a prompt", tokens, range(len(v)), v, np.ones(len(v), bool) if counts is None else np.array(counts))


def heatmap(lines, options=None, colouring=None) -> str:
    """By activation, with the scale of these lines, unless a colouring is given."""
    values = np.concatenate([v.values[v.counts] for v in lines]) if lines else np.empty(0, np.float32)
    return heatmaps.heatmap(lines, colouring or colouring_of(values, "activation"), options or HeatmapOptions())


class Tags(html.parser.HTMLParser):
    """The elements that a browser would see, with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def cells(block: str) -> list[dict]:
    return [a for tag, a in Tags(block).found if tag == "span" and "title" in a]


def test_opacity_is_the_formula_and_stays_within_its_bounds():
    assert opacity(0) == pytest.approx(0.05)
    assert opacity(1) == pytest.approx(1.0)
    assert opacity(1 / 3) == pytest.approx(0.05 + 0.95 * np.log10(4))
    assert opacity(0.25, "sqrt", 0.1) == pytest.approx(0.1 + 0.9 * 0.5)
    assert opacity(0.25, "linear", 0.0) == pytest.approx(0.25)
    assert opacity(7) == 1.0


def test_sign_is_colour_and_number():
    found = heatmap([line([2.0, -1.0, 0.0])], HeatmapOptions(decimals=1))
    first, second, third = cells(found)
    assert "rgba(52,211,153,1.000)" in first["style"]
    assert f"rgba(251,146,60,{opacity(0.5):.3f})" in second["style"]
    assert "style" not in third
    assert {"+2.0", "-1.0", "+0.0"} <= set(Tags(found).words)


def test_excluded_and_non_finite_tokens_have_no_colour():
    block = heatmap([line([9.0, 1.0, np.nan, np.inf], counts=[False, True, True, True])], HeatmapOptions())
    excluded, full, nan, inf = cells(block)
    assert "style" not in excluded and "excluded" in excluded["title"]
    assert "rgba(52,211,153,1.000)" in full["style"]  # 9 does not count, so 1 is the largest
    assert "style" not in nan and "NaN" in nan["title"] and "style" not in inf


def test_included_non_finite_values_are_hatched():
    values = [np.inf, -np.inf, np.nan, 0.0, np.inf]
    block = heatmap([line(values, counts=[True] * 4 + [False])], HeatmapOptions())
    assert [c["class"] for c in cells(block)] == ["t up", "t down", "t nan", "t", "t x"]
    for name in ("up", "down", "nan"):
        assert f".ns-heat .{name}{{background:repeating-linear-gradient(" in block
    assert "hatched: infinite" in block and "hatched: infinite" in document("L1N2", [], block)
    assert "hatched: infinite" not in heatmap([line([0.0, 1.0, np.nan], counts=[1, 1, 0])], HeatmapOptions())


def test_normalisation_threshold_and_rows():
    two = [line([1.0, 0.1]), line([4.0])]
    alone = cells(heatmap(two, HeatmapOptions(normalise="prompt")))
    run = cells(heatmap(two))
    assert "1.000" in alone[0]["style"] and f"{opacity(0.25):.3f}" in run[0]["style"]
    assert "style" not in cells(heatmap(two, HeatmapOptions(threshold=0.5)))[1]
    assert heatmap([line([1.0] * 7)], HeatmapOptions(per_row=3)).count('class="r"') == 3


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [np.nan]])
def test_nothing_to_colour(values):
    block = heatmap([line(values)] if values else [], HeatmapOptions())
    assert "rgba(52,211,153,1" not in block


@pytest.mark.parametrize(
    ("values", "counts", "why"),
    [([9.0], [False], "no token is included"), ([9.0, np.nan, np.inf], [False, True, True], "no value is finite"),
     ([9.0, 0.0, np.nan], [False, True, True], "every included activation is zero"),
     ([9.0, 0.0, 1e-9], [False, True, True], "")],
)  # fmt: skip
def test_it_is_said_why_nothing_is_coloured(values, counts, why):
    one = line(values, counts=counts)
    for lines, normalise in (([one], "prompt"), ([one, one], "prompt"), ([one], "run")):
        block = heatmap(lines, HeatmapOptions(normalise=normalise))
        said = "".join(Tags(block).words)
        assert (f"nothing to colour: {why}" in said) if why else ("nothing to colour" not in said)
    coloured = heatmap([one, line([1.0])], HeatmapOptions())
    assert "nothing to colour" not in coloured  # another prompt has something


def test_one_scale_for_the_run_and_values_beyond_it_are_outlined():
    colouring = Colouring("activation", None, Limit(2.0, 99.9, 1))
    small, large = line([0.2]), line([-8.0, 2.0])
    block = heatmap([small, large], colouring=colouring)
    first, beyond, full = cells(block)
    assert f"{opacity(0.1):.3f}" in first["style"] and first["class"] == full["class"] == "t"
    assert beyond["class"] == "t o" and "251,146,60,1.000" in beyond["style"] and "52,211,153,1.000" in full["style"]
    assert "outlined: beyond the scale" in block and "99.9th percentile of the |activation| of the run" in block
    assert "outlined" not in heatmap([small], colouring=colouring).partition("</style>")[2]


def test_relative_colours_are_distances_from_the_mean_with_the_activation_in_the_hover_text():
    values = np.array([-5.0] * 19 + [-3.0], np.float32)
    colouring = colouring_of(values, "relative")
    assert colouring.spread is not None and colouring.spread.always_on == "-"
    usual, odd = cells(heatmap([line([-5.0, -3.0])], colouring=colouring))
    assert "251,146,60" in usual["style"] and "52,211,153" in odd["style"]  # below, and above, the mean
    assert "act -3, +4.36 std from the mean" in odd["title"]
    block = heatmap([line([np.inf, np.nan])], colouring=colouring)
    assert [c["class"] for c in cells(block)] == ["t up", "t nan"]
    assert "from the mean (-4.9) over the run" in heatmap([line([-3.0])], colouring=colouring)
    assert colouring_of(np.full(12, 2.0, np.float32), "relative").show == "activation"  # it has no spread
    assert "std from" not in heatmap([line([1.0, 2.0])])


def test_hostile_tokens_are_text():
    tokens = [*HOSTILE, HALF]
    hostile = line(np.arange(len(tokens)) - 4, tokens)._replace(title=HOSTILE[2])
    for text in (heatmap([hostile], HeatmapOptions(decimals=2)), document(HOSTILE[1], [("run", HOSTILE[4])], "")):
        seen = Tags(text)
        assert {t for t, _ in seen.found} <= {"style", "div", "span", "small", "i", "html", "head", "meta", "title",
                                              "body", "h1", "dl", "dt", "dd"}  # fmt: skip
        assert not [a for _, attrs in seen.found for a in attrs if a.startswith("on") or a in ("src", "href")]
        assert "EVIL" in "".join(seen.words) and text.encode()


def test_the_file_forbids_scripts_and_loads():
    text = document("L1N2", [("run", "x")], heatmap([line([1.0])], HeatmapOptions()))
    policy = next(a["content"] for t, a in Tags(text).found if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy and "script" not in policy
    assert "http" not in text.replace("http-equiv", "")


def test_exported_tables_have_no_formulas_or_tags():
    frame = pd.DataFrame({"token": ["=cmd", "@SUM(A1)", "</script><b>", " x"], "act": [1.0, np.nan, -2.0, 0.5]})
    rows = csv_bytes(frame).decode().splitlines()
    assert rows[1] == "'=cmd,1.0" and rows[2] == "'@SUM(A1)," and rows[3] == "</script><b>,-2.0"
    text = json_bytes(frame).decode()
    assert "<" not in text and json.loads(text)[2]["token"] == "</script><b>" and json.loads(text)[1]["act"] is None
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet_bytes(frame))), frame)


def test_a_lone_surrogate_is_exported_as_an_escape():
    lists = pd.Series([[HALF, " x"], None], dtype=object)
    frame = pd.DataFrame({"token": pd.Series([HALF, None], dtype=object), "tokens": lists, "n": [1, 2]})
    back = pd.read_parquet(io.BytesIO(parquet_bytes(frame)))
    assert back["token"].tolist()[0] == " \\udfffEVIL" and list(back["tokens"][0]) == [" \\udfffEVIL", " x"]
    assert back["tokens"][1] is None and back["n"].tolist() == [1, 2] and frame["tokens"][0][0] == HALF
    assert b"udfffEVIL" in csv_bytes(frame) and json.loads(json_bytes(frame))[0]["tokens"][0] == " \\udfffEVIL"
