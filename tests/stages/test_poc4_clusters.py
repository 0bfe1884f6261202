"""`poc4_extract_records clusters` from the command line, on a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from record_stage import extract, flags, write_corpus
from sklearn.metrics import adjusted_rand_score

from neuron_signatures.poc4_extract_records import main
from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NEURONS,
    CLUSTER_TOKENS,
    CLUSTERINGS,
    CLUSTERS,
    CORPUS_ANALYSIS_FOLDER,
    TABLES,
)
from neuron_signatures.runs.records.reader import Records

FAST = ["--n_bootstraps", "4", "--n_shuffles", "5", "--quiet"]
EFFECT = ["--effect_windows", "3", "--effect_span", "2", "--n_random", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clusters")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl", n=120), folder / "run")) == 0
    return folder / "run"


def _clusters(run_dir: Path, *more: str) -> int:
    return main(["clusters", "--run_dir", str(run_dir), *FAST, *more])


def test_every_basis_and_method(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--by", "activations,weights,exemplars", "--method", "kmeans,hdbscan", "--k", "4,9", *EFFECT]
    assert _clusters(run_dir, *more) == 0
    tables = {
        stem: CORPUS_ANALYSIS_FOLDER.read_table(run_dir, stem) for stem in TABLES if TABLES[stem].mode == "clusters"
    }
    for stem, table in tables.items():
        assert list(table.columns) == list(TABLES[stem].columns)
        assert not np.isinf(table.select_dtypes(np.number).to_numpy(np.float64)).any()
    clusterings, clusters, neurons = (tables[stem] for stem in (CLUSTERINGS, CLUSTERS, CLUSTER_NEURONS))
    names = clusterings["clustering"].tolist()
    assert [n for n in names if "kmeans" in n] == [
        f"{basis}-kmeans-{k}" for basis in ("activations", "weights", "exemplars") for k in (4, 9)
    ]
    for row in clusterings.to_dict("records"):
        mine = clusters[clusters["clustering"] == row["clustering"]]
        members = neurons[neurons["clustering"] == row["clustering"]]
        assert len(mine) == row["n_clusters"] and len(members) == row["n_neurons"] == 264
        sizes = members[members["cluster"] >= 0].groupby("cluster").size()
        assert sizes.tolist() == mine["n_neurons"].tolist() == sorted(mine["n_neurons"], reverse=True)
        assert (members["cluster"] == -1).sum() == row["n_noise"]
        assert members["distance"].isna().equals(members["cluster"] == -1)
    assert (clusters["effect"] > 0).all() and (clusters["n_null"] == 4).all() and clusters["p"].between(0.2, 1).all()
    assert (clusters["n_windows"] == 3).all()
    out = capsys.readouterr().out
    assert "adjusted Rand index of bootstraps" in out and "random sets" in out


def test_tokens_describe_the_cluster(run_dir: Path) -> None:
    """Its name is made of its first tokens, whose score is the mean over members and occurrences."""
    assert _clusters(run_dir, "--k", "6", "--no_effect") == 0
    clusters, tokens, neurons = (
        CORPUS_ANALYSIS_FOLDER.read_table(run_dir, stem) for stem in (CLUSTERS, CLUSTER_TOKENS, CLUSTER_NEURONS)
    )
    assert clusters["effect"].isna().all() and clusters["p"].isna().all() and not clusters["n_windows"].any()
    first = tokens[(tokens["cluster"] == 2) & (tokens["rank"] == 1)].iloc[0]
    assert clusters["name"].iloc[2].startswith(first["token"].replace(" ", "·"))
    members = neurons[neurons["cluster"] == 2]
    scores = []
    with Records.open(run_dir) as records:
        for layer, neuron in zip(members["layer"], members["neuron"], strict=True):
            sample = records.sample(layer, neuron, parts=("explain",))
            counted = sample.acts[sample.counts]
            here = counted[sample.token_ids[sample.counts] == first["token_id"]]
            scores.append((here.mean() - counted.mean()) / counted.std())
            assert len(here) == first["count"]
    assert np.mean(scores) == pytest.approx(first["score"], rel=1e-3)


def test_without_effects_and_weights_no_model_is_needed(run_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("corpus_analysis"))
    labels = []
    for more in (["--no_effect"], [*EFFECT]):
        assert _clusters(moved, "--k", "5", *more) == 0
        assert CORPUS_ANALYSIS_FOLDER.read_record(moved, "clusters").facts["with_model"] == (more != ["--no_effect"])
        labels.append(CORPUS_ANALYSIS_FOLDER.read_table(moved, CLUSTER_NEURONS)["cluster"])
    assert adjusted_rand_score(*labels) > 0.99  # the stored sample holds all windows, the model runs the same ones


def test_k_is_chosen_from_a_short_list(run_dir: Path) -> None:
    assert _clusters(run_dir, "--no_effect") == 0
    clusterings = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, CLUSTERINGS)
    assert len(clusterings) == 1 and clusterings["n_clusters"].iloc[0] in (10, 20, 40, 80)


def test_the_same_seed_gives_the_same_tables(run_dir: Path) -> None:
    found = []
    for seed in ("1", "1", "2"):
        assert _clusters(run_dir, "--k", "5", "--by", "activations,exemplars", "--no_effect", "--seed", seed) == 0
        found.append(CORPUS_ANALYSIS_FOLDER.read_table(run_dir, CLUSTERINGS))
    assert found[0].equals(found[1]) and not found[0].equals(found[2])


def test_a_forecast_writes_nothing(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("corpus_analysis"))
    assert _clusters(moved, "--k", "4", "--dry_run", "--json", *EFFECT) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_clusters"] == 4 and found["n_neurons"] == 264 and found["effect_tokens"] > 0
    assert not (moved / "corpus_analysis").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--neurons", "L0N1,L0N2"], "2 neurons are too few for clusters (at least 10)"),
        (["--k", "200"], "264 neurons are too few for clusters (at least 400)"),
        (["--no_effect", "--n_random", "3"], "--n_random: has no effect with --no_effect"),
        (["--method", "hdbscan", "--k", "3"], "--k: is the number of clusters of k-means"),
        (["--min_cluster_size", "3"], "--min_cluster_size: is for HDBSCAN"),
        (["--embedding", "minilm"], "--embedding: is for --by exemplars"),
        (["--by", "names"], "is not a list of activations, weights, exemplars"),
    ],
)
def test_mistakes_are_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert _clusters(run_dir, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_mistake_leaves_the_earlier_result(run_dir: Path) -> None:
    assert _clusters(run_dir, "--k", "4", "--no_effect") == 0
    assert _clusters(run_dir, "--k", "200") == 2
    assert "clusters" in CORPUS_ANALYSIS_FOLDER.finished(run_dir)
