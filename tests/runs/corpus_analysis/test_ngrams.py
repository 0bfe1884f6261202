"""Queries of n-grams on hand-made tables."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from record_runs import make_record_run

from neuron_signatures.runs.corpus_analysis import ngrams
from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NGRAMS,
    CORPUS_ANALYSIS_FOLDER,
    NEURON_NGRAMS,
    NGRAM_NEURONS,
    NGRAMS,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder

TEXTS = [(" Austin",), (" of", " Austin"), ("Austin",), (" A", "ustin"), (" Houston",), (" capital", " of", " Texas")]
COUNTS = [20, 12, 5, 7, 9, 6]


def write_tables(run_dir: Path) -> None:
    rows = []
    for i, (tokens, count) in enumerate(zip(TEXTS, COUNTS, strict=True)):
        ids = [100 + i * 3 + k for k in range(len(tokens))] + [-1] * (3 - len(tokens))
        rows.append((i, len(tokens), "".join(tokens), json.dumps(tokens), *ids, count, count // 2))
    columns = ["ngram", "n", "text", "tokens", "id_1", "id_2", "id_3", "count", "held_out_count"]
    of_ngram = [
        (0, 1, 1, 7, "+", 2.5, 4.0, 3.5),
        (0, 2, 0, 3, "-", -0.5, -2.0, float("nan")),
        (4, 1, 1, 7, "+", 1, 2, 1),
    ]
    of_neuron = [(1, 7, "+", 2, 4, 1.0, 2.0, 1.0), (1, 7, "+", 1, 0, 2.5, 4.0, 3.5), (1, 7, "-", 1, 5, -1, -1, -1)]
    of_cluster = [("a-kmeans-2", 0, 1, 0, 1.5, 1.4), ("a-kmeans-2", 1, 3, 0, -1.8, -1.0)]
    effects = ["mean", "effect", "held_out_effect"]
    with Run.open(run_dir) as run, open_folder(run, CORPUS_ANALYSIS_FOLDER, "ngrams") as writer:
        writer.table(NGRAMS, pd.DataFrame(rows, columns=columns))
        names = ["ngram", "rank", "layer", "neuron", "pole", *effects]
        writer.table(NGRAM_NEURONS, pd.DataFrame(of_ngram, columns=names).assign(suffix_effect=0.5))
        names = ["layer", "neuron", "pole", "rank", "ngram", *effects]
        writer.table(NEURON_NGRAMS, pd.DataFrame(of_neuron, columns=names))
        names = ["clustering", "cluster", "rank", "ngram", *effects[1:]]
        writer.table(CLUSTER_NGRAMS, pd.DataFrame(of_cluster, columns=names))
        writer.finish(settings={}, facts={})


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    make_record_run(tmp_path / "run")
    write_tables(tmp_path / "run")
    return tmp_path / "run"


def test_a_text_is_found_exactly_in_all_its_tokens(run_dir: Path) -> None:
    found = ngrams.find_ngram(run_dir, " Austin")
    assert [(n.ngram, n.tokens, n.count) for n in found.ngrams] == [(0, (" Austin",), 20), (3, (" A", "ustin"), 7)]
    assert found.ngrams[0].token_ids == (100,)
    assert not found.near


def test_another_text_has_near_candidates(run_dir: Path) -> None:
    found = ngrams.find_ngram(run_dir, "austin")
    assert not found.ngrams
    assert [n.text for n in found.near] == [" Austin", " Austin", "Austin", " of Austin"]
    assert not ngrams.find_ngram(run_dir, "Paris").near
    assert not ngrams.find_ngram(run_dir, "").ngrams


def test_neurons_of_an_ngram_and_back(run_dir: Path) -> None:
    first, second = ngrams.neurons_of(run_dir, 0)
    assert first == (1, 1, 7, "+", 2.5, 4.0, 3.5)
    assert second.held_out_effect is None
    back = ngrams.ngrams_of_neuron(run_dir, 1, 7, "+")
    assert [(e.rank, e.ngram.text, e.effect) for e in back] == [(1, " Austin", 4.0), (2, " Houston", 2.0)]
    assert ngrams.ngrams_of_neuron(run_dir, 0, 0, "+") == []
    assert ngrams.neurons_of(run_dir, 5) == []


def test_clusters_of_an_ngram_and_back(run_dir: Path) -> None:
    assert [(c.cluster, c.effect) for c in ngrams.clusters_of(run_dir, 0)] == [(1, -1.8), (0, 1.5)]
    only = ngrams.ngrams_of_cluster(run_dir, "a-kmeans-2", 1)
    assert [(e.rank, e.ngram.text, e.mean, e.effect) for e in only] == [(3, " Austin", None, -1.8)]


def test_without_the_tables_it_says_what_to_run(tmp_path: Path) -> None:
    make_record_run(tmp_path / "run")
    with pytest.raises(UsageError, match="ngrams --run_dir"):
        ngrams.find_ngram(tmp_path / "run", " Austin")
