"""Figures and their data, on hand-made numbers."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from explorer import DEMO, HALF, HOSTILE, plain_run

from neuron_signatures.dashboard.data.cached_reads import validation
from neuron_signatures.dashboard.neuron import figures as figures_acts
from neuron_signatures.dashboard.neuron.all_prompts import NeuronOnRun, order_of
from neuron_signatures.dashboard.neuron.colouring import colouring_of
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions, heatmap
from neuron_signatures.dashboard.ranking import figures as figures_rank
from neuron_signatures.dashboard.ranking import validation_figures as figures_validation
from neuron_signatures.dashboard.shell.list_walk import (
    Filters,
    index_in,
    label,
    passing,
    step,
)
from neuron_signatures.dashboard.signatures import figures as figures_signatures
from neuron_signatures.dashboard.signatures.data import (
    Group,
    Pole,
    SignatureFilter,
    matching,
    parse_pole,
    peaks_on_pole,
    read_groups,
    read_signatures,
    strongest,
)
from neuron_signatures.dashboard.widgets.elements import chosen_neuron, chosen_row, point_data
from neuron_signatures.dashboard.widgets.figure_style import CONFIG, EMERALD, GREY, LINES, ORANGE, plot_text
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.results import list_validations
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import ListRef, RankedList
from neuron_signatures.views.scale import Limit

LIMIT = Limit(1.5, 99, 1)


def texts(figure) -> str:
    return json.dumps(figure.to_plotly_json(), default=lambda o: o.tolist())


def ranked(scores, acts) -> RankedList:
    n = len(scores)
    table = pa.table(
        {"layer": [0] * n, "neuron": list(range(n)), "influence": scores, "ctx_idx": [1] * n, "ctx_token": [" x"] * n,
         "activation": acts}
    )  # fmt: skip
    arrays = (np.zeros(n, np.int64), np.arange(n), np.array(scores, float))
    return RankedList(ListRef("influence", "s", "t", ""), "influence", (), (), *arrays, table, np.arange(n), "p")


def test_plotly_gets_no_tags_links_or_formulas():
    shown = "".join(plot_text(t) for t in HOSTILE)
    assert "<" not in shown and "$" not in shown
    assert plot_text(" a&b") == "·a&amp;b"
    tokens = [*HOSTILE, HALF]
    curve = figures_acts.Curve(HOSTILE[1], tokens, np.ones(len(tokens), np.float32), np.ones(len(tokens), bool))
    figure = figures_acts.over_tokens([curve])
    assert "<img" not in texts(figure) and "<script" not in texts(figure) and "EVIL" in texts(figure)
    assert figure.to_json().encode()
    assert CONFIG["showSendToCloud"] is False and CONFIG["displaylogo"] is False


def test_the_cells_of_the_layer_map_open_their_neurons():
    peaks = np.array([[9.0, 1.0], [np.nan, -2.0]])
    neurons = np.array([[7, 3], [-1, 4]])
    figure = figures_acts.layers_by_tokens(peaks, neurons, [2, 5], ["<bos>", " a"], np.array([False, True]), LIMIT)
    cells = figure.data[1]
    assert cells.customdata.tolist() == [[2, 3, 1], [5, 4, 1]]
    assert (cells.type, cells.width, list(cells.y), list(cells.base)) == ("bar", 1, [1, 1], [-0.5, 0.5])  # all of it
    assert figure.layout.yaxis.ticktext == ("L2", "L5") and list(figure.data[0].y) == [0, 1]
    assert figure.data[0].zmax == 1.5 and cells.marker.line.width.tolist() == [0, 2]  # -2 is beyond the limit
    nothing = np.array([False, False])
    empty = figures_acts.layers_by_tokens(peaks, neurons, [2, 5], ["<bos>", " a"], nothing, Limit(0.0, 99, 0))
    assert len(empty.data[1].x) == 0 and empty.data[0].zmax == 1.0


def bars_of(values) -> list[tuple[float, float, int, str]]:
    """Ends, count and colour of the bars of a histogram."""
    (bars,) = figures_acts.histogram(np.array(values, np.float32)).data
    return [(*ends, n, c) for ends, n, c in zip(bars.customdata.tolist(), bars.y, bars.marker.color, strict=True)]


def test_the_histogram_counts_tokens_with_one_sign_per_bar_and_leaves_out_empty_intervals(demo):
    acts = np.concatenate([demo.acts(p, layer=3, neuron=508)[1:] for p in demo.prompts])
    for values in (acts, np.arange(-7, 70), [3.0] * 5, [-3.0], [0.0, 0.0], [1e-30, 1.0], np.arange(5000)):
        found = bars_of(values)
        assert sum(n for *_, n, _ in found) == len(values) and all(n > 0 for *_, n, _ in found)
        for low, high, _, colour in found:
            assert (colour == ORANGE) == (high <= 0 and low < 0) and not low < 0 < high
    assert len(bars_of(np.arange(5000))) <= 61
    figure = figures_acts.histogram(np.array([1.0, 2.0, np.nan], np.float32))
    assert figure.layout.yaxis.type == "log" and figure.layout.yaxis.range[0] < 0  # a single token has a visible bar
    assert not figures_acts.histogram(np.full(5, np.nan, np.float32)).data


def test_no_line_connects_tokens_and_only_negative_values_are_orange():
    tokens, on = ["a", "b", "c"], np.ones(3, bool)
    curve = figures_acts.Curve("p", tokens, np.array([1.0, -2.0, np.nan], np.float32), on)
    (bars,) = figures_acts.over_tokens([curve]).data
    assert bars.type == "bar" and list(bars.marker.color) == [EMERALD, ORANGE, GREY]
    several = figures_acts.over_tokens([curve, curve._replace(name="q")])
    assert [t.mode for t in several.data] == ["markers", "markers"]
    assert not {"#f97316", "#fb923c", ORANGE} & set(LINES)


def test_filters_apply_bounds_and_drop_undefined_numbers():
    rows = ranked([-3.0, 2.0, 1.0, float("nan")], [0.5, -0.5, None, 9.0])
    assert passing(rows, Filters()).tolist() == [0, 1, 2, 3]
    assert passing(rows, Filters(abs_score=2.0)).tolist() == [0, 1]
    assert passing(rows, Filters(score_from=0.0)).tolist() == [1, 2]
    assert passing(rows, Filters(score_to=-1.0, act_from=0.0)).tolist() == [0]
    assert passing(rows, Filters(act_to=1.0)).tolist() == [0, 1]
    assert passing(rows, Filters(top_k=2)).tolist() == [0, 1]
    assert passing(rows, Filters(score_from=9.0)).tolist() == []
    assert np.isnan(rows.acts()[2])


def test_walking_stays_in_the_list():
    rows = np.array([2, 5, 9])
    assert [step(rows, 5, by) for by in (-1, 1, 10, -10)] == [2, 9, 9, 2]
    assert step(rows, 4, 1) == 2 == step(rows, None, -10)
    assert step(np.array([], np.int64), 4, 1) is None
    assert (index_in(rows, 9), index_in(rows, 4), index_in(rows, 10), index_in(rows, None)) == (2, None, None, None)
    assert label(ranked([-3.0], [0.5]).row(0)) == "1  L0N0  -3  ·x"


def test_points_carry_the_neuron_and_its_row():
    rows = figures_rank.Ranks(
        np.array([0, 3]), np.array([5, 6]), np.array([4, 8]), np.array([1.0, -2.0]), np.array([0.1, np.nan]), ["a", "b"]
    )
    for build in (figures_rank.by_layer, figures_rank.act_against_score, figures_rank.bars):
        assert build(rows, "influence").data[0].customdata.tolist() == [[0, 5, 4], [3, 6, 8]]


@pytest.fixture(scope="module")
def demo():
    return Run.open(DEMO)


def selected(*points) -> dict:
    return {"selection": {"points": list(points), "rows": []}}


def test_a_click_opens_the_neuron_of_the_point(demo):
    assert chosen_neuron(selected({"customdata": [3, 14, 2]}), demo) == NeuronAt(3, 14)
    assert chosen_neuron(selected({"customdata": {"0": 3, "1": 14.0}}), demo) == NeuronAt(3, 14)
    assert point_data(selected({"customdata": [3, 14, 2]}), 3) == [3, 14, 2]


@pytest.mark.parametrize(
    "event",
    [None, {}, {"selection": None}, selected(), selected({}), selected({"customdata": [2, 1]}),
     selected({"customdata": "31"}), selected({"customdata": [3, 10**6]}), selected({"customdata": [3.5, 1]}),
     selected({"customdata": ["3", 1]}),
     selected({"customdata": [float("nan"), 1]}), selected(None)],
)  # fmt: skip
def test_an_invalid_click_opens_nothing(demo, event):
    assert chosen_neuron(event, demo) is None


def test_a_row_is_one_of_the_table():
    assert [chosen_row({"selection": {"rows": r}}, 3) for r in ([2], [3], [-1], [], ["1"], [True])] == [2] + [None] * 5


@pytest.mark.parametrize(
    ("cells", "rows", "row"),
    [([(2, "neuron")], [], 2), ([[1, "score"]], [0], 1), ([(3, "neuron")], [], None), ([("1", "neuron")], [], None),
     ([[]], [0], 0), ([2], [0], 0), ([], [0], 0), (None, [0], 0)],
)  # fmt: skip
def test_a_click_on_a_cell_is_one_on_its_row(cells, rows, row):
    assert chosen_row({"selection": {"rows": rows, "cells": cells, "columns": []}}, 3) == row


def test_validation_of_the_demo_run():
    v = validation(Run.open(DEMO), "data", "results", list_validations(DEMO)[0])
    assert {m.metric for m in v.metrics} == {"dla", "act_grad", "ablation"} and v.winner_single == "act_grad"
    figure = figures_validation.curves(v.metrics, "faithfulness")
    assert [t.name for t in figure.data] == [*(m.metric for m in v.metrics), "random sets"]
    assert figure.data[0].y[-1] == pytest.approx(1.0)
    assert len(figures_validation.curves(v.metrics, "completeness").data) == 3


def test_a_damaged_validation_is_named(tmp_path):
    plain_run(tmp_path / "run")
    (tmp_path / "run" / "analysis").mkdir()
    (tmp_path / "run" / "analysis" / "v.json").write_text('{"target": 1}')
    with pytest.raises(BadRunError, match=r"v\.json"):
        validation(Run.open(tmp_path / "run"), "data", "results", "v")


def test_signatures_filter_and_groups():
    table = read_signatures(DEMO)
    peak = np.array(table["max_peak"].to_pylist(), float)
    assert (np.diff(peak[np.isfinite(peak)]) <= 0).all()
    some = matching(table, SignatureFilter(("say_x",), (4,), "-", "AUSTIN"))
    assert 0 < some.num_rows < table.num_rows
    rows = some.to_pylist()
    assert {(r["class"], r["layer"], r["pole"]) for r in rows} == {("say_x", 4, "-")}
    assert all("austin" in ((r["name"] or "") + (r["mode_peak_token"] or "")).lower() for r in rows)
    assert matching(table, SignatureFilter()).num_rows == table.num_rows
    group = read_groups(DEMO)[0]
    best = strongest(table, group, lambda layer, neuron: layer == 4, 3)
    assert len(best) == 3 and {m.at.layer for m in best} == {4} and set(best) <= set(group.members)


def test_peaks_on_a_pole_exclude_masked_and_non_finite_values():
    values = [np.array([9.0, 1.0, -4.0], np.float32), np.array([np.nan], np.float32)]
    counts = [np.array([False, True, True]), np.array([True])]
    up, down = peaks_on_pole(values, counts, "+"), peaks_on_pole(values, counts, "-")
    assert up[0][0] == 1.0 and up[1].tolist() == [1, -1] and np.isnan(up[0][1])
    assert down[0][0] == 4.0 and down[1][0] == 2


def test_signature_figures():
    assert parse_pole("L3N14-") == Pole(NeuronAt(3, 14), "-")
    bars = figures_signatures.class_bars(
        {"semantic": 3, "unclassified": 9}, {"shuffled": {"semantic": 1.5}, "other": {"semantic": 2}}
    )
    assert [(t.name, list(t.y)) for t in bars.data] == [("this run", [3]), ("shuffled", [1.5]), ("other", [2])]
    assert Group("g", "say_x", [Pole(NeuronAt(0, 1), "+")] * 3, (4, 9, 5)).size == "3 poles, n 4 to 9"
    assert Group("g", "say_x", [Pole(NeuronAt(0, 1), "+")], (4,)).size == "1 pole, n 4"
    members = Group("g", "say_x", [Pole(NeuronAt(0, 1), "+")]).members
    grid = figures_signatures.members_by_prompts(
        np.array([[2.0, np.nan]]), members, ["first", HOSTILE[2]], [HOSTILE[3:5]], LIMIT
    )
    assert grid.layout.xaxis.ticktext[0] == "0 first" and list(grid.data[1].x) == [0]  # named, and beyond the limit
    assert grid.data[0].zmax == 1.5 and "<script" not in texts(grid) and "<iframe" not in texts(grid)


def test_labels_of_probe_bars_have_one_size_and_room_on_their_own_side():
    high, low = np.array([5.0, -1.0, 0.5, np.nan]), np.array([-2.0, -3.0, 0.25, np.nan])
    tokens = [[" up", " down"], [HOSTILE[1], " a token of many letters"], [" c", " d"], [" e"]]
    places = np.array([0, 0, 0, -1]), np.array([1, 1, 1, -1])
    figure = figures_signatures.probe_bars(high, places[0], low, places[1], ["p", "q", "r", "s"], tokens)
    labels = list(figure.layout.annotations)
    assert [(a.x, a.y, a.yanchor) for a in labels] == [
        (0, 5.0, "bottom"), (1, 0.0, "bottom"), (2, 0.5, "bottom"), (0, -2.0, "top"), (1, -3.0, "top"), (2, 0.0, "top"),
    ]  # fmt: skip
    assert {a.font.size for a in labels} == {11} and labels[4].text == "·a token of…" and "<img" not in labels[1].text
    bottom, top = figure.layout.yaxis.range
    per_pixel = (top - bottom) / 340
    assert min(top - 5.0, -3.0 - bottom) > 12 * 6 * per_pixel
    zeros, at = np.zeros(41), np.zeros(41, int)
    crowded = figures_signatures.probe_bars(zeros, at, zeros, at, ["p"] * 41, [[" t"]] * 41)
    assert not crowded.layout.annotations


def test_lists_of_the_demo_run_read_as_ranks(demo):
    found = read_list(DEMO, list_refs(DEMO)[0])
    rows = passing(found, Filters(top_k=5))
    assert rows.tolist() == [0, 1, 2, 3, 4] and not np.isnan(found.acts()[rows]).any()


def test_peaks_of_prompts_and_their_order():
    values = [np.array(v, np.float32) for v in ([9, -2], [np.nan], [0.5, -3, 1], [np.inf, 4])]
    counts = [np.array(c) for c in ([False, True], [True], [True] * 3, [True, True])]
    neuron = NeuronOnRun([], values, counts)
    peaks = neuron.largest_of(colouring_of(neuron.counted_values(), "activation"))
    np.testing.assert_array_equal(peaks, [2, np.nan, 3, 4])
    assert order_of(peaks, by_size=True) == [3, 2, 0, 1] and order_of(peaks, by_size=False) == [0, 1, 2, 3]
    relative = neuron.largest_of(colouring_of(neuron.counted_values(), "relative"))
    assert order_of(relative, by_size=True) == [3, 2, 0, 1]
    assert relative[3] == pytest.approx((4 - 0.1) / np.std([-2, 0.5, -3, 1, 4]))
    assert neuron.over_run.n == 5 and neuron.over_run.n_nonfinite == 2


def test_a_long_prompt_is_cut_around_its_peak():
    prompt = PromptRecord.model_construct(
        probe_id="p", tokens=[f"t{i}" for i in range(9)], token_ids=[*range(9)], seq_len=9
    )
    values = np.array([0, 0, 0, 0, 0, 0, 5, 0, 0], np.float32)
    neuron = NeuronOnRun([prompt], [values], [np.ones(9, bool)])
    line = neuron.line(0, "title", most=4)
    assert (line.first, line.cut, list(line.tokens)) == (4, (True, True), ["t4", "t5", "t6", "t7"])
    assert line.title == "title, positions 4 to 7 of 9" and neuron.line(0, "title", most=9).cut == (False, False)
    block = heatmap([line], colouring_of(values, "activation"), HeatmapOptions())
    assert "position 6, id 6, act +5" in block and block.count("…") == 2


def test_the_tokens_with_the_largest_activations_are_distinct_and_of_one_sign():
    prompt = PromptRecord.model_construct(tokens=["x", "a", "b", "a", "c"], seq_len=5)
    counts = np.array([False, True, True, True, True])
    neuron = NeuronOnRun([prompt], [np.array([9, 3, -2, 4, 0], np.float32)], [counts])
    assert neuron.top_tokens(1, 5) == [("a", 4.0)] and neuron.top_tokens(-1, 5) == [("b", -2.0)]
