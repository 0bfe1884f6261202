"""The Query view: n-grams counted by hand, responses and means against numpy, and the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from analysis_runs import BOS, make_run, random_acts
from explorer import page_of
from paths import DEMO_RUN
from streamlit.testing.v1 import AppTest

from neuron_signatures.dashboard.data.neuron_sets import NeuronSet, group_sets, typed_set
from neuron_signatures.dashboard.data.neuron_stats import neuron_at, stats_from_table
from neuron_signatures.dashboard.data.run_tokens import TokenIndex, TokenKind, grams_of, index_tokens, shown_gram
from neuron_signatures.dashboard.query.answers import (
    ends_of,
    excited_by,
    gram_table,
    grams_for,
    most_excited,
)
from neuron_signatures.dashboard.query.response import response_of
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

DEMO = DEMO_RUN
HOSTILE = "![](http://evil.example/x.png)"
PROMPTS = {"a": [BOS, " the", " cat", " the", " cat"], "b": [" x", " cat", " the"], "c": [BOS, " the", " cat"]}


def by_hand(path: Path, values: dict[str, list[float]]) -> Run:
    """One neuron with these values at the tokens of PROMPTS."""
    return make_run(path, PROMPTS, {k: np.array(v, np.float32)[None, :, None] for k, v in values.items()})


def texts(rows) -> list[str]:
    return [shown_gram(r.gram) for r in rows]


def index_by_hand(kinds: list[TokenKind], prompts: list[list[int]]) -> TokenIndex:
    lengths = [len(p) for p in prompts]
    return TokenIndex(
        np.repeat(np.arange(len(prompts), dtype=np.int32), lengths),
        np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        np.concatenate([np.array(p, np.int32) for p in prompts]), np.ones(sum(lengths), bool), tuple(kinds), True,
    )  # fmt: skip


# Which n-grams


def test_n_grams_are_counted_within_prompts_and_without_the_bos(tmp_path):
    run = by_hand(tmp_path / "run", {"a": [99, 1, 2, 3, 6], "b": [50, -4, 5], "c": [99, 7, 4]})
    index = index_tokens(run, include_bos=False)
    values = response_of(run, index, [NeuronAt(0, 0)], scale="activation", stats=None).values
    rows = gram_table(run, index, grams_of(index, 1), values, by="mean", min_count=1, top=9).rows
    assert texts(rows) == ["·the", "·cat"] and [r.n for r in rows] == [4, 4]
    the, cat = rows
    assert (the.mean, the.max, the.min) == (4, 7, 1) and (cat.mean, cat.max, cat.min) == (2, 6, -4)
    assert the.std == pytest.approx(np.std([1, 3, 5, 7]))
    assert (the.prompt_id, the.pos) == ("c", 1)
    pairs = gram_table(run, index, grams_of(index, 2), values, by="max", min_count=1, top=9)
    # the pair over the edge of prompts a and b (` cat` ` cat`) does not exist, nor one with a first position
    assert [(t, r.n, r.max, r.mean) for t, r in zip(texts(pairs.rows), pairs.rows, strict=True)] == [
        ("·the | ·cat", 3, 6, 4), ("·cat | ·the", 2, 5, 4),
    ]  # fmt: skip
    assert [(r.prompt_index, r.pos) for r in pairs.rows] == [(0, 4), (1, 2)]
    often = gram_table(run, index, grams_of(index, 2), values, by="mean", min_count=3, top=9)
    assert texts(often.rows) == ["·the | ·cat"] and (often.n_groups, often.n_frequent) == (2, 1)
    triples = gram_table(run, index, grams_of(index, 3), values, by="mean", min_count=1, top=1)
    assert texts(triples.rows) == ["·the | ·cat | ·the"] or triples.rows[0].mean == 6
    assert triples.n_groups == 2 and len(triples.rows) == 1
    assert gram_table(run, index, grams_of(index, 3), values, by="min", min_count=1, top=9).rows[0].min == 3


def test_the_negative_pole_comes_first_when_ranked_by_the_smallest(tmp_path):
    run = by_hand(tmp_path / "run", {"a": [99, 1, 2, 3, 6], "b": [50, -4, 5], "c": [99, 7, 4]})
    index = index_tokens(run, include_bos=False)
    values = response_of(run, index, [NeuronAt(0, 0)], scale="activation", stats=None).values
    row = gram_table(run, index, grams_of(index, 1), values, by="min", min_count=1, top=9).rows[0]
    assert (shown_gram(row.gram), row.min, row.prompt_id, row.pos) == ("·cat", -4, "b", 1)
    counting = index_tokens(run, include_bos=True)
    first = gram_table(run, counting, grams_of(counting, 2), values, by="mean", min_count=1, top=9)
    assert "<bos> | ·the" in texts(first.rows) and first.n_groups == 4


def test_non_finite_values_are_counted_separately(tmp_path):
    run = by_hand(tmp_path / "run", {"a": [0, np.nan, 2, 3, np.inf], "b": [50, 1, 5], "c": [0, 7, 4]})
    index = index_tokens(run, include_bos=False)
    values = response_of(run, index, [NeuronAt(0, 0)], scale="activation", stats=None).values
    found = gram_table(run, index, grams_of(index, 1), values, by="mean", min_count=1, top=9)
    assert found.n_nonfinite == 2 and {t: r.n for t, r in zip(texts(found.rows), found.rows, strict=True)} == {
        "·the": 3, "·cat": 3,
    }  # fmt: skip
    assert found.rows[0].mean == 5


# Sets of neurons


def test_a_set_is_the_mean_of_its_neurons_raw_or_standardised(tmp_path):
    prompts = {"a": [BOS, " x", " y", " z"], "b": [BOS, " x", " w"]}
    acts = random_acts(prompts, n_layers=2, d_mlp=9, seed=5)
    for a in acts.values():
        a[0] *= 100
        a[1, :, 8] = 2.0
    run = make_run(tmp_path / "run", prompts, acts)
    index = index_tokens(run, include_bos=False)
    neurons = [NeuronAt(0, n) for n in (7, 1, 2, 3, 4, 5)] + [NeuronAt(1, 0)]  # six of a layer are read together
    every = np.concatenate([np.stack([acts[k][at.layer, :, at.neuron] for at in neurons]) for k in prompts], axis=1)
    raw = response_of(run, index, neurons, scale="activation", stats=None)
    np.testing.assert_allclose(raw.values, every.mean(axis=0), rtol=1e-5)
    kept = every[:, index.counts]
    z = (every - kept.mean(axis=1, keepdims=True)) / kept.std(axis=1, keepdims=True)
    seen = []
    standard = response_of(run, index, neurons, scale="z", stats=None, progress=lambda d, t: seen.append((d, t)))
    np.testing.assert_allclose(standard.values, z.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert seen[-1] == (4, 4) and [d for d, _ in seen] == sorted(d for d, _ in seen)
    turned = response_of(run, index, neurons, scale="z", stats=None, signs=[-1] + [1] * 6)
    np.testing.assert_allclose(turned.values, (z.sum(axis=0) - 2 * z[0]) / 7, rtol=1e-4, atol=1e-5)
    constant = response_of(run, index, [*neurons, NeuronAt(1, 8)], scale="z", stats=None)
    np.testing.assert_allclose(constant.values, standard.values, rtol=1e-5)
    assert (constant.n_constant, constant.n_neurons) == (1, 8)
    nothing = response_of(run, index, [NeuronAt(1, 8)], scale="z", stats=None)
    assert nothing.n_constant == 1 and np.isnan(nothing.values).all()


def test_the_peaks_stage_gives_the_same_z_as_a_pass(tmp_path):
    run = Run.open(DEMO)
    index = index_tokens(run, include_bos=False)
    neurons = [NeuronAt(3, 5), NeuronAt(4, 1), NeuronAt(1, 0)]
    stats = stats_from_table(run, include_bos=False).stats
    table = response_of(run, index, neurons, scale="z", stats=stats)
    read = response_of(run, index, neurons, scale="z", stats=None)
    np.testing.assert_allclose(table.values, read.values, atol=1e-4)
    assert "peaks stage" in table.moments_by and "pass" in read.moments_by


def test_sets_of_neurons(tmp_path):
    run = Run.open(DEMO)
    assert typed_set("L3N4, 4/5\nL3N4", run).neurons == (NeuronAt(3, 4), NeuronAt(4, 5))
    for wrong in ("", " , ", "L0N1", "3/99999", "L3"):
        with pytest.raises(UsageError):
            typed_set(wrong, run)
    cut = NeuronSet("x", (NeuronAt(1, 1), NeuronAt(1, 2)), (1, -1)).cut(1)
    assert cut == NeuronSet("x", (NeuronAt(1, 1),), (1,), 2)
    groups = group_sets(run)
    assert groups and all(len(g.neurons) == len(g.signs) and set(g.signs) <= {1, -1} for g in groups)
    other = shutil.copytree(DEMO, tmp_path / "other")
    (other / "analysis" / "groups.json").write_text('{"groups": [{"name": 1}]}')
    with pytest.raises(BadRunError):
        group_sets(Run.open(other))
    members = ["L0N1+", "L3N512-", "L3N4-", "L4N5+"]
    (other / "analysis" / "groups.json").write_text(
        json.dumps({"groups": [{"name": "x", "class": "say_x", "members": members}]})
    )
    part = group_sets(Run.open(other))[0]
    assert part.neurons == (NeuronAt(3, 4), NeuronAt(4, 5)) and part.signs == (-1, 1) and "2 poles" in part.note
    (other / "analysis" / "groups.json").unlink()
    assert group_sets(Run.open(other)) == []


# Tokens by name


def test_a_name_matches_whole_n_grams_raw_or_displayed(tmp_path):
    run = by_hand(tmp_path / "run", {"a": [0] * 5, "b": [0] * 3, "c": [0] * 3})
    index = index_tokens(run, include_bos=False)

    def found(text: str) -> list[str]:
        return [shown_gram(g) for g in grams_for(index, text, top=9)]

    for text in (" cat", "·cat", "cat", "·ca", "CAT", '" cat"', '"·cat"'):
        assert found(text) == ["·cat"], text
    for text in (" the cat", "·the·cat", "·the | ·cat", "the cat", "The Cat"):
        assert found(text) == ["·the | ·cat"], text
    for text in ("·cat·cat", "<bos>", "·the·cat·the·cat", '"cat"', '"Cat"'):
        assert found(text) == [], text
    assert found("") == ["·the", "·cat"] and found("t") == ["·the", "·cat"]
    assert [shown_gram(g) for g in grams_for(index, "", top=1)] == ["·the"]
    the, cat = (TokenKind(run.prompts[0].token_ids[i], t) for i, t in ((1, " the"), (2, " cat")))
    assert ends_of(index, (the, cat)).tolist() == [2, 4, 10]
    assert ends_of(index, (cat, the)).tolist() == [3, 7]
    assert ends_of(index, (TokenKind(777, " the"),)).tolist() == []


def test_an_ambiguous_name_lists_all_matches():
    kinds = [TokenKind(1, "ab"), TokenKind(2, "a"), TokenKind(3, "b"), TokenKind(4, "ab")]
    index = index_by_hand(kinds, [[0, 1, 2], [3]])
    assert [[k.id for k in g] for g in grams_for(index, "ab", top=9)] == [[1], [2, 3], [4]]
    spaced = index_by_hand([TokenKind(1, " Texas"), TokenKind(2, "Texas"), TokenKind(3, "Texasan")], [[2, 0], [1]])
    assert [[k.id for k in g] for g in grams_for(spaced, "Texas", top=9)] == [[2], [1], [3]]


# Which neurons


def test_neurons_are_compared_with_their_means(tmp_path):
    run = Run.open(DEMO)
    index = index_tokens(run, include_bos=False)
    gram = (TokenKind(run.prompts[0].token_ids[2], run.prompts[0].tokens[2]),)
    ends = ends_of(index, gram)
    places = [(i, p) for i, r in enumerate(run.prompts) for p, t in enumerate(r.token_ids) if t == gram[0].id]
    assert [(int(index.prompt[e]), int(index.pos[e])) for e in ends] == places
    excited = excited_by(run, index, ends, at_most=500, seed=0)
    direct = np.mean([run.acts(i, pos=p).reshape(-1) for i, p in places], axis=0)
    np.testing.assert_allclose(excited.mean, direct, rtol=1e-5, atol=1e-6)
    assert (excited.n_used, excited.n_found) == (len(places), len(places))
    stats = stats_from_table(run, include_bos=False).stats
    rows = most_excited(run, excited, stats, by="z", lowest=False, top=5)
    z = (direct - stats.mean) / stats.std
    assert [r.at for r in rows] == [neuron_at(run, i) for i in np.argsort(-z)[:5]]
    assert rows[0].z == pytest.approx(z.max(), rel=1e-4) and [r.rank for r in rows] == [1, 2, 3, 4, 5]
    assert rows[0].mean == pytest.approx(rows[0].mean_all + rows[0].difference)
    low = most_excited(run, excited, stats, by="difference", lowest=True, top=1)[0]
    assert low.at == neuron_at(run, int(np.argmin(direct - stats.mean))) and low.difference < 0
    alone = most_excited(run, excited, None, by="mean", lowest=False, top=1)[0]
    assert alone.at == neuron_at(run, int(np.argmax(direct))) and alone.z is None and alone.difference is None


def test_many_occurrences_are_drawn_by_the_seed(tmp_path):
    prompts = {"a": [BOS, *[" x"] * 40]}
    acts = random_acts(prompts, n_layers=1, d_mlp=3)
    acts["a"][0, :, 1] = np.nan
    acts["a"][0, 1, 2] = np.inf
    run = make_run(tmp_path / "run", prompts, acts)
    index = index_tokens(run, include_bos=False)
    ends = ends_of(index, (index.kinds[1],))
    one, again, other = (excited_by(run, index, ends, at_most=10, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.mean, again.mean)
    assert one.mean[0] != other.mean[0] and (one.n_used, one.n_found) == (10, 40)
    everything = excited_by(run, index, ends, at_most=40, seed=0)
    assert everything.n_nonfinite == 41 and np.isnan(everything.mean[1])
    assert everything.mean[2] == pytest.approx(acts["a"][0, 2:, 2].mean(), rel=1e-5)
    ranked = most_excited(run, everything, None, by="mean", lowest=False, top=9)
    assert sorted(r.at.neuron for r in ranked) == [0, 2]


# The page


def page(root: Path, **state) -> AppTest:
    return again(page_of(root, "query", **state))


def again(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def words(at: AppTest) -> str:
    parts = [e.value for kind in ("markdown", "caption", "subheader", "text") for e in at.get(kind)]
    return " ".join([*parts, *(h.proto.body for h in at.get("html"))])


def test_tokens_that_excite_on_the_demo_run(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    at = page(tmp_path)
    one = at.dataframe[0].value
    assert list(one.columns) == [
        "n-gram", "id", "n", "mean", "max", "min", "std", "prompt", "position",
    ] and len(one) > 5  # fmt: skip
    assert (one["mean"].diff().dropna() <= 0).all()
    at.radio(key="ui_query_n").set_value(3)
    assert again(at).dataframe[0].value["n-gram"].str.count(r" \| ").eq(2).all()
    at.number_input(key="ui_query_min").set_value(9999)
    assert not again(at).dataframe and "No n-gram has this many occurrences" in words(at)
    at.number_input(key="ui_query_min").set_value(1)
    at.selectbox(key="ui_query_set").set_value("group")
    assert len(again(at).dataframe[0].value) and "mean z over" in words(at)
    at.selectbox(key="ui_query_set").set_value("list")
    assert len(again(at).dataframe[0].value) and "first 20 of" in words(at)
    at.selectbox(key="ui_query_set").set_value("typed")
    assert "Type one or more" in words(again(at))
    at.text_input(key="ui_query_typed").set_value("L3N4, nonsense")
    assert any("nonsense" in c.value for c in again(at).code) and not at.dataframe
    at.text_input(key="ui_query_typed").set_value("L3N4, L4N5")
    assert len(again(at).dataframe[0].value)


def test_neurons_that_a_token_excites_on_the_demo_run(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    at = page(tmp_path, ui_query_kind="neurons")
    assert list(at.dataframe[0].value.columns)[:5] == ["rank", "neuron", "mean", "difference", "z"]
    at.text_input(key="ui_query_text").set_value("·capital·of")
    assert "·capital | ·of" in words(again(at)) and len(at.dataframe) == 1
    at.text_input(key="ui_query_text").set_value("capital")
    assert "·capital" in words(again(at)) and len(at.dataframe) == 1
    at.text_input(key="ui_query_text").set_value("ca")
    pick = next(s for s in again(at).selectbox if s.label.endswith("matches"))
    pick.set_value(1)
    assert pick.options[1].split("   ")[0] in words(again(at)) and len(at.dataframe) == 1
    at.text_input(key="ui_query_text").set_value("no such token")
    assert "No token of this run contains this text" in words(again(at)) and not at.dataframe
    shutil.rmtree(tmp_path / "run" / "analysis")
    at = page(tmp_path, ui_query_kind="neurons")
    assert list(at.dataframe[0].value.columns) == ["rank", "neuron", "mean"]
    assert any("poc2_analyze_run --run_dir" in c.value for c in at.code)


def test_a_cluster_of_the_map_is_asked_about(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    at = page(tmp_path, ui_map_k=3)
    at.segmented_control(key="view").set_value("map")
    again(at).button(key="map_ask").click()
    assert again(at).selectbox(key="ui_query_set").value == "cluster"
    assert "cluster 0 of the map" in words(at) and len(at.dataframe[0].value)


@pytest.mark.parametrize(
    ("tokens", "value", "tokens_said", "neurons_said"),
    [
        ([BOS], 1.0, "This run has only first positions", "This run has only first positions"),
        ([BOS, " x"], 0.0, "1 in the run", "1 of 1 read"),
        ([BOS, " x"], np.nan, "These neurons have no finite value", "No neuron has a value"),
        ([BOS, HOSTILE, HOSTILE], 2.0, "1 in the run", "2 of 2 read"),
    ],
)
def test_empty_states(tmp_path, tokens, value, tokens_said, neurons_said):
    make_run(tmp_path / "run", {"p": tokens}, {"p": np.full((1, len(tokens), 1), value, np.float32)})
    at = page(tmp_path)
    assert tokens_said in words(at)
    at.session_state["ui_query_kind"] = "neurons"
    assert neurons_said in words(again(at))
    assert not any(HOSTILE in e.value for kind in ("markdown", "caption") for e in at.get(kind))


def test_no_n_gram_of_three_in_a_prompt_of_one_and_no_z_of_constants(tmp_path):
    make_run(tmp_path / "run", {"p": [BOS, " x"]}, {"p": np.ones((1, 2, 2), np.float32)})
    assert "No prompt of this run has 3 consecutive" in words(page(tmp_path, ui_query_n=3))
    at = page(tmp_path, ui_query_set="typed", ui_query_typed="L0N0, L0N1")
    assert "z is undefined" in words(at) and not at.dataframe
    at.radio(key="ui_query_scale").set_value("activation")
    assert len(again(at).dataframe[0].value) == 1
