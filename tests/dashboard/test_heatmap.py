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
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, Line, document, heatmap, opacity


def line(values, tokens=None, counts=None) -> Line:
    v = np.array(values, np.float32)
    tokens = tokens or [f" t{i}" for i in range(len(v))]
    return Line("a prompt", tokens, range(len(v)), v, np.ones(len(v), bool) if counts is None else np.array(counts))


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
    alone = cells(heatmap(two, HeatmapOptions()))
    run = cells(heatmap(two, HeatmapOptions(normalise="run"), run_largest=4.0))
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
    for lines, more in (([one], {}), ([one, one], {}), ([one], {"run_largest": 0.0 if why else 1.0})):
        block = heatmap(lines, HeatmapOptions(normalise="run" if more else "prompt"), **more)
        said = "".join(Tags(block).words)
        assert (f"nothing to colour: {why}" in said) if why else ("nothing to colour" not in said)
    coloured = heatmap([one, line([1.0])], HeatmapOptions())
    assert "nothing to colour" not in coloured  # another prompt has something


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
