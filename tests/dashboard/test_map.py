"""The Map view: what is sampled, reduced and clustered, by matrices whose answer is visible, and the page."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis_runs import BOS, make_run, make_v1_run, random_acts
from explorer import page_of
from paths import DEMO_RUN
from streamlit.testing.v1 import AppTest

from neuron_signatures.dashboard.data import neuron_stats
from neuron_signatures.dashboard.data.exports import with_record
from neuron_signatures.dashboard.data.neuron_stats import peaks_by_reading, stats_from_table, top_by_peak
from neuron_signatures.dashboard.data.result_cache import cached
from neuron_signatures.dashboard.data.run_tokens import index_tokens
from neuron_signatures.dashboard.data.sample import Sample, draw_sample
from neuron_signatures.dashboard.map.clusters import (
    NOISE,
    Settings,
    cluster,
    reduce_shuffled,
    silhouette,
    sweep,
    top_tokens,
)
from neuron_signatures.dashboard.map.figures import by_cluster, by_number, by_word, hover_texts, pca_titles, scatter
from neuron_signatures.dashboard.map.projection import largest_perplexity, pca, prepare, tsne
from neuron_signatures.dashboard.pages import map
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

DEMO = DEMO_RUN
HOSTILE = "<img src=x onerror=alert(1)>"
WORDS = [" red", " green", " blue"]


def sample_of(run: Run, *, n: int = 5000, tokens: int = 4000, seed: int = 0, include_bos: bool = False) -> Sample:
    stats = peaks_by_reading(run, include_bos=include_bos)
    index = index_tokens(run, include_bos=include_bos)
    return draw_sample(run, index, stats, max_neurons=n, max_tokens=tokens, seed=seed)


def planted(path: Path) -> Run:
    """Thirty neurons: ten each that are active at ` red`, ` green` and ` blue`, of ten sizes, with a little noise."""
    prompts = {f"p{i}": [BOS, *[WORDS[(i + j) % 3] for j in range(6)]] for i in range(4)}
    rng = np.random.default_rng(1)
    acts = {}
    for key, tokens in prompts.items():
        a = rng.normal(0, 0.05, (1, len(tokens), 30)).astype(np.float32)
        for pos, token in enumerate(tokens[1:], 1):
            group = WORDS.index(token)
            a[0, pos, 10 * group : 10 * group + 10] += np.linspace(1, 40, 10)
        a[0, 0] = 1000  # the BOS must not count
        acts[key] = a
    return make_run(path, prompts, acts)


# Sampling


def test_peaks_by_one_pass_are_those_of_all_values(tmp_path, monkeypatch):
    prompts = {"a": [BOS, " x", " y"], "b": [BOS, " z"], "c": [BOS]}
    acts = random_acts(prompts, n_layers=2, d_mlp=7)
    acts["a"][1, 2, 3] = np.nan
    acts["b"][0, 1, 0] = -np.inf
    acts["a"][:, 1:, 6] = acts["b"][:, 1:, 6] = np.nan
    run = make_run(tmp_path / "run", prompts, acts)
    values = np.concatenate([a[:, 1:] for a in acts.values()], axis=1)
    expected = np.where(np.isfinite(values), np.abs(values), -1).max(axis=1).reshape(-1)
    seen = []
    at_once = peaks_by_reading(run, include_bos=False, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(at_once.peak, expected)
    assert seen[0] == (0, 3) and seen[-1] == (3, 3)
    assert at_once.peak[6] == -1 and 6 not in top_by_peak(at_once, 14)
    monkeypatch.setattr(neuron_stats, "_LARGEST_BLOCK", 0)  # a prompt too long to be read at once
    np.testing.assert_array_equal(peaks_by_reading(run, include_bos=False).peak, expected)


def test_the_table_of_the_peaks_stage_is_used_if_it_matches(tmp_path):
    run = Run.open(DEMO)
    table, why = stats_from_table(run, include_bos=False)
    assert table is not None and why == ""
    np.testing.assert_allclose(table.peak, peaks_by_reading(run, include_bos=False).peak, rtol=1e-6)
    row = neuron_stats.flat_of(run, NeuronAt(3, 5))
    values = np.concatenate([run.acts(p, layer=3, neuron=5)[1:] for p in run.prompts])
    assert table.mean[row] == pytest.approx(values.mean(), abs=1e-5)
    assert table.std[row] == pytest.approx(values.std(), rel=1e-4)
    assert neuron_stats.neuron_at(run, row) == NeuronAt(3, 5)
    assert stats_from_table(run, include_bos=True).stats is None  # the table left the BOS out
    other = shutil.copytree(DEMO, tmp_path / "other")
    meta = json.loads((other / "analysis" / "analysis_meta.json").read_text())
    meta["run"]["created_at_utc"] = "2020-01-01T00:00:00+00:00"
    (other / "analysis" / "analysis_meta.json").write_text(json.dumps(meta))
    assert "another dump" in stats_from_table(Run.open(other), include_bos=False).why
    shutil.rmtree(other / "analysis")
    assert "not been computed" in stats_from_table(Run.open(other), include_bos=False).why


@pytest.mark.parametrize("column", ["layer", "std_act"])
def test_a_damaged_table_is_not_used(tmp_path, column):
    shutil.copytree(DEMO, tmp_path / "run")
    path = tmp_path / "run" / "analysis" / "neurons_aggregated.parquet"
    table = pq.read_table(path)
    lists = pa.array([[1]] * len(table))
    pq.write_table(table.set_column(table.column_names.index(column), column, lists), path)
    assert "cannot be read" in stats_from_table(Run.open(tmp_path / "run"), include_bos=False).why


def test_a_sample_says_what_it_holds_and_leaves_out(tmp_path):
    prompts = {"a": [BOS, " x", " y", " z"], "b": [BOS, " x", " w"]}
    acts = random_acts(prompts, n_layers=2, d_mlp=4)
    for a in acts.values():
        a[0, :, 1] = 3.0  # constant, and large
    acts["a"][1, 2, 2] = np.inf
    acts["b"][1, 1, 2] = 50
    run = make_run(tmp_path / "run", prompts, acts)
    sample = sample_of(run, n=7)
    r = sample.record
    assert (r.n_neurons, r.n_neurons_of, r.n_nonfinite, r.n_constant) == (5, 8, 1, 1)
    assert (r.n_tokens, r.n_tokens_of, r.seed) == (5, 5, 0) and "excluded" in r.bos
    assert NeuronAt(0, 1) not in sample.at and NeuronAt(1, 2) not in sample.at
    for at, row, peak, token in zip(sample.at, sample.acts, sample.peak, sample.peak_tokens, strict=True):
        direct = np.concatenate([acts[k][at.layer, 1:, at.neuron] for k in prompts])
        np.testing.assert_array_equal(row, direct)
        assert peak == np.abs(direct).max()
        assert token == [" x", " y", " z", " x", " w"][int(np.abs(direct).argmax())]
    assert not sample.acts.flags.writeable


def test_tokens_are_drawn_by_the_seed(tmp_path):
    prompts = {f"p{i}": [BOS] + [f" w{i}{j}" for j in range(9)] for i in range(5)}
    run = make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=6))
    one, again, other = (sample_of(run, tokens=8, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.acts, again.acts)
    assert one.place.tolist() == again.place.tolist() != other.place.tolist()
    assert (one.record.n_tokens, one.record.n_tokens_of, one.record.seed) == (8, 45, 3)
    assert "drawn at random" in one.record.tokens_by
    texts = [t for tokens in prompts.values() for t in tokens]
    assert [one.tokens[c] for c in one.code] == [texts[i] for i in one.place] and BOS not in texts[one.place[0]]


def test_an_export_carries_the_record():
    import pandas as pd

    frame = with_record(pd.DataFrame({"x": [1, 2]}), {"seed": 7, "held": math.nan})
    assert json.loads(frame["how"][0]) == {"seed": 7, "held": None} and pd.isna(frame["how"][1])
    assert list(with_record(pd.DataFrame({"x": []}), {"seed": 7}).columns) == ["x", "how"]


# Reduction


def test_a_matrix_of_rank_one_lies_on_one_axis_with_a_fixed_sign():
    pattern = np.array([0.0, 1.0, -3.0, 2.0], np.float32)
    sizes = np.array([1.0, 2.0, -4.0, 8.0], np.float32)
    acts = sizes[:, None] * pattern
    reduced = pca(prepare(acts, "centred"), "centred", seed=0)
    assert reduced.explained[0] == pytest.approx(1.0, abs=1e-5)
    # the third token weighs most: its sign is positive, so that PC 1 falls where the size of the pattern rises
    assert np.argsort(-reduced.coords[:, 0]).tolist() == [2, 0, 1, 3]
    np.testing.assert_allclose(reduced.coords[:, 1], 0, atol=1e-4)
    assert np.ptp(reduced.coords[:, 0]) == pytest.approx(12 * math.sqrt(14), rel=1e-4)  # in units of activation
    flipped = pca(prepare(acts[:, ::-1], "centred"), "centred", seed=0)
    np.testing.assert_allclose(flipped.coords[:, 0], reduced.coords[:, 0], rtol=1e-4)
    assert "100.0%" in pca_titles(reduced)[0]


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e37])
def test_rows_are_standardised_or_centred_at_any_size(scale):
    acts = (np.random.default_rng(0).standard_normal((6, 9)) * scale).astype(np.float32)
    x = prepare(acts, "standardised").astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=1), 1, rtol=1e-5)
    centred = prepare(acts, "centred").astype(np.float64)
    wanted = acts.astype(np.float64) - acts.astype(np.float64).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(centred, wanted, atol=2e-6 * scale)
    assert np.isfinite(pca(centred.astype(np.float32), "centred", seed=0).coords).all()


def test_the_randomised_decomposition_agrees_with_the_exact_one(monkeypatch):
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 80)) + 0.01 * rng.standard_normal((60, 80))
    x = prepare(low_rank.astype(np.float32), "standardised")
    exact = pca(x.copy(), "standardised", seed=0, components=5)
    monkeypatch.setattr("neuron_signatures.dashboard.map.projection._EXACT_BELOW", 10)
    near = pca(x.copy(), "standardised", seed=0, components=5)
    assert exact.solver == "exact" and near.solver.startswith("randomised")
    np.testing.assert_allclose(near.explained, exact.explained, rtol=1e-3)
    np.testing.assert_allclose(near.coords, exact.coords, atol=0.02)


def test_neurons_that_are_all_the_same_have_no_axes():
    same = np.tile(np.array([0.0, 1.0, 5.0], np.float32), (4, 1))
    reduced = pca(prepare(same, "standardised"), "standardised", seed=0)
    assert reduced.held is None and not reduced.coords.any() and reduced.n_points == 1
    assert pca_titles(reduced) == ("PC 1 (no variance)", "PC 2 (no variance)")
    found = cluster(reduced, Settings("k-means", 3, 2, 0))
    assert found.n_clusters == 1 and "distinct points" in found.note
    assert silhouette(reduced, found.labels, seed=0).value is None


def test_tsne_keeps_neighbours_and_the_seed_fixes_it(tmp_path):
    sample = sample_of(planted(tmp_path / "run"))
    reduced = pca(prepare(sample.acts, "standardised"), "standardised", seed=0)
    assert largest_perplexity(30) == 9 and largest_perplexity(3) == 0
    points = tsne(reduced, perplexity=5, seed=1)
    np.testing.assert_array_equal(points, tsne(reduced, perplexity=5, seed=1))
    groups = np.repeat([0, 1, 2], 10)
    for point, group in zip(points, groups, strict=True):
        near = np.argsort(np.linalg.norm(points - point, axis=1))[1:5]
        assert (groups[near] == group).all()


# Clusters


@pytest.mark.parametrize("method", ["k-means", "HDBSCAN"])
def test_planted_clusters_are_found_and_shuffled_ones_are_not(tmp_path, method):
    sample = sample_of(planted(tmp_path / "run"))
    reduced = pca(prepare(sample.acts, "standardised"), "standardised", seed=0)
    how = Settings(method, 3, 4, 0)
    found = cluster(reduced, how)
    assert [len(set(found.labels[10 * g : 10 * g + 10].tolist())) for g in range(3)] == [1, 1, 1]
    assert found.n_clusters == 3 and found.n_noise == 0
    good = silhouette(reduced, found.labels, seed=0)
    shuffled = reduce_shuffled(sample, reduced, seed=0)
    null = silhouette(shuffled, cluster(shuffled, how).labels, seed=0)
    assert good.value is not None and good.value > 0.9 and good.n_points == 30
    assert null.value is None or null.value < 0.4
    tops = top_tokens(sample, found.labels, per_cluster=2)
    for group, word in enumerate(WORDS):
        best = next(t for t in tops if t.cluster == found.labels[10 * group])
        assert (best.token, best.n) == (word, 8)
        assert best.mean_act == pytest.approx(np.linspace(1, 40, 10).mean(), abs=0.1)
        assert best.mean_z == pytest.approx(math.sqrt(2), abs=0.02)  # on at a third of the tokens
    np.testing.assert_array_equal(found.labels, cluster(reduced, how).labels)


def test_a_sweep_peaks_at_the_planted_number(tmp_path):
    sample = sample_of(planted(tmp_path / "run"))
    reduced = pca(prepare(sample.acts, "standardised"), "standardised", seed=0)
    swept = sweep(reduced, reduce_shuffled(sample, reduced, seed=0), [2, 3, 4], seed=0)
    assert max(swept, key=lambda s: s.data or -1).k == 3
    assert all(s.data > s.shuffled for s in swept)


def test_shuffling_keeps_every_neurons_values(tmp_path):
    sample = sample_of(planted(tmp_path / "run"))
    before = sample.acts.copy()
    like = pca(prepare(sample.acts, "centred"), "centred", seed=0)
    shuffled = reduce_shuffled(sample, like, seed=0)
    np.testing.assert_array_equal(sample.acts, before)
    assert shuffled.explained[0] < like.explained[0] - 0.1
    assert shuffled.coords.shape == like.coords.shape and shuffled.rows == "centred"


def test_a_silhouette_is_undefined_where_it_has_no_meaning(tmp_path):
    reduced = pca(prepare(sample_of(planted(tmp_path / "run")).acts, "centred"), "centred", seed=0)
    one, each, noise = np.zeros(30, int), np.arange(30), np.full(30, NOISE)
    for labels in (one, each, noise):
        score = silhouette(reduced, labels, seed=0)
        assert score.value is None and "undefined" in score.why
    some = np.repeat([0, 1, NOISE], 10)
    score = silhouette(reduced, some, seed=0)
    assert score.value is not None and (score.n_points, score.why) == (20, "all neurons except 10 of noise")


# Figures


def test_points_say_what_they_are_and_hide_no_markup(tmp_path):
    prompts = {"p": [BOS, HOSTILE, " $x$", " ok"]}
    acts = np.zeros((1, 4, 3), np.float32)
    acts[0, 1:] = np.eye(3) * [[9], [5], [7]]
    sample = sample_of(make_run(tmp_path / "run", prompts, {"p": acts}))
    reduced = pca(prepare(sample.acts, "standardised"), "standardised", seed=0)
    labels = np.array([0, NOISE, 0])
    hover = hover_texts(sample, sample.peak_tokens, labels)
    assert "<img" not in "".join(hover) and "&lt;img" in hover[0] and "noise" in hover[1] and "cluster 0" in hover[2]
    figure = scatter(reduced.coords, sample, by_cluster(labels), hover, pca_titles(reduced), selected=NeuronAt(0, 2))
    assert [t.name for t in figure.data] == ["noise", "cluster 0", "L0N2"]
    assert [[list(point) for point in t.customdata] for t in figure.data] == [[[0, 1]], [[0, 0], [0, 2]], [[0, 2]]]
    assert "% of the variance" in figure.layout.xaxis.title.text
    tokens = scatter(reduced.coords, sample, by_word("token at the peak", sample.peak_tokens), hover, ("", ""))
    names = " ".join(t.name for t in tokens.data)
    assert "<img" not in names and "$" not in names and "·ok" in names
    partly = scatter(reduced.coords, sample, by_number("score", np.array([1, np.nan, -2.0])), hover, ("", ""))
    assert [t.name for t in partly.data] == ["not in the list", "score"]


# The page


def test_results_are_cached_unless_the_computation_is_interrupted(tmp_path):
    done = []

    def work() -> int:
        done.append(1)
        if len(done) == 1:
            raise KeyboardInterrupt
        return 7

    with pytest.raises(KeyboardInterrupt):
        cached(work, str(tmp_path), 1)
    assert cached(work, str(tmp_path), 1) == cached(work, str(tmp_path), 1) == 7 and len(done) == 2
    assert cached(lambda: 8, str(tmp_path), 2) == 8


def page(root: Path, name: str = "run", **state) -> AppTest:
    at = page_of(root, "map", run=name, **state)
    at.run()
    assert not at.exception, at.exception
    return at


def words(at: AppTest) -> str:
    parts = [e.value for kind in ("markdown", "caption", "subheader", "text") for e in at.get(kind)]
    return " ".join([*parts, *(h.proto.body for h in at.get("html"))])


def charts(at: AppTest) -> int:
    return len(at.get("plotly_chart"))


def test_the_page_of_the_demo_run(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    at = page(tmp_path, ui_map_k=4)
    assert (
        charts(at) == 1 and "from the table of the peaks stage" in words(at) and "first positions excluded" in words(at)
    )
    assert [m.label for m in at.metric] == ["silhouette", "of shuffled activations"]
    assert len(at.dataframe[0].value) == 4 and at.dataframe[0].value["neurons"].sum() == len(
        sample_of(Run.open(DEMO)).at
    )
    for option in at.selectbox(key="ui_map_colour").options:
        at.selectbox(key="ui_map_colour").set_value(option).run()
        assert not at.exception and charts(at) == 1
    at.selectbox(key="ui_map_cluster").set_value(2).run()
    assert at.session_state["ui_map_cluster"] == 2
    at.toggle(key="ui_map_sweep").set_value(True).run()
    assert charts(at) == 2
    at.radio(key="ui_map_method").set_value("HDBSCAN").run()
    assert not at.exception and "minimum size 10" in words(at)
    at.radio(key="ui_map_method").set_value("none").run()
    assert not at.exception and not at.metric and charts(at) == 1


def test_without_analysis_the_peaks_are_read(tmp_path, monkeypatch):
    shutil.copytree(DEMO, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    at = page(tmp_path)
    assert charts(at) == 1 and "from one pass over all activations" in words(at)
    monkeypatch.setattr(map, "_MOST_BYTES", 0)  # as if it were a large run
    at = page(tmp_path)
    assert charts(at) == 0 and any("poc2_analyze_run --run_dir" in c.value for c in at.code)
    next(b for b in at.button if b.label == "Read all activations").click().run()
    assert not at.exception and charts(at) == 1


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        (np.zeros((2, 3, 4)), "No neuron varies"),
        (np.full((2, 3, 4), np.nan), "No neuron varies"),
        (np.ones((2, 2, 4)) * np.arange(4), "single token"),
        (np.arange(6).reshape(2, 3, 1)[:1], "Only one neuron"),
        (np.ones((1, 1, 4)), "This run has only first positions"),
    ],
)
def test_empty_states(tmp_path, acts, said):
    tokens = [BOS, " x", " y"][: acts.shape[1]]
    make_run(tmp_path / "run", {"p": tokens}, {"p": acts.astype(np.float32)})
    for method in ("k-means", "HDBSCAN"):
        at = page(tmp_path, ui_map_method=method, ui_map_projection="t-SNE")
        assert charts(at) == 0 and said in words(at)


@pytest.mark.parametrize("d_mlp", [2, 3, 5])
def test_few_neurons_give_a_small_map(tmp_path, d_mlp):
    prompts = {"p": [BOS, " x", " y", HOSTILE, " z"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=d_mlp))
    for method in ("k-means", "HDBSCAN"):
        at = page(tmp_path, ui_map_method=method, ui_map_projection="t-SNE", ui_map_sweep=True)
        assert charts(at) >= 1 and f"{d_mlp} of {d_mlp}" in words(at)
        assert HOSTILE not in words(at)
        assert ("needs at least four" in words(at)) == (d_mlp < 4)


def test_a_run_of_format_1(tmp_path):
    prompts = {"p": [BOS, " x", " y", " z"], "q": [BOS, " x", " y", " w"]}
    make_v1_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=6))
    assert charts(page(tmp_path)) == 1
