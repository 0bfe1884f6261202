"""N-grams of a corpus: counts and effects against brute force, and `ngrams` as a command."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import Texts, build
from record_runs import make_record_run
from record_stage import extract, flags, write_corpus

from neuron_signatures import poc4_extract_records
from neuron_signatures.corpus_analysis.ngrams.index import NgramIndex, make_index
from neuron_signatures.corpus_analysis.ngrams.strongest import MARGIN, of_columns, of_ngrams
from neuron_signatures.corpus_analysis.passes import choose_windows, open_pass
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NEURONS,
    CLUSTER_NGRAMS,
    CLUSTER_TOKENS,
    CLUSTERINGS,
    CLUSTERS,
    CORPUS_ANALYSIS_FOLDER,
    NEURON_NGRAMS,
    NGRAM_NEURONS,
    NGRAMS,
)
from neuron_signatures.runs.corpus_analysis.ngrams import clusters_of, find_ngram, neurons_of
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder


def counted(corpus: Corpus, part: Part) -> Counter[tuple[int, ...]]:
    """How often each n-gram ends at a position that counts."""
    found: Counter[tuple[int, ...]] = Counter()
    for window in range(corpus.n_windows):
        if corpus.part_of(window) == part:
            ids = corpus.token_ids(window).tolist()
            for pos in range(int(corpus.window_counted_from[window]), len(ids)):
                found.update(tuple(ids[pos - n : pos + 1]) for n in range(3) if pos >= n)
    return found


def test_frequent_ngrams_with_all_their_suffixes(tmp_path: Path) -> None:
    texts = ["abc abd", "abcabc", "the cat", "a the the cat", "cba cab abc"]
    build(tmp_path, Texts(texts), parts=(60, 40, 0), sequence_length=6)
    with Corpus.open(tmp_path) as corpus:
        every = counted(corpus, "explain")
        index = make_index(corpus, "explain", min_count=2, max_ngrams=1000)
        few = make_index(corpus, "explain", min_count=2, max_ngrams=3)
    rows = [tuple(i for i in row if i >= 0) for row in index.ids.tolist()]
    assert set(rows) == {ngram for ngram, n in every.items() if n >= 2}
    assert index.n.tolist() == [len(row) for row in rows] == sorted(len(row) for row in rows)
    for row, suffix in zip(rows, index.suffix.tolist(), strict=True):
        assert (rows[suffix] == row[1:]) if len(row) > 1 else suffix == -1
    for n in (1, 2, 3):
        counts = [every[row] for row in rows if len(row) == n]
        assert counts == sorted(counts, reverse=True)
    kept = [tuple(i for i in row if i >= 0) for row in few.ids.tolist()]
    assert sum(len(row) == 3 for row in kept) == 3
    assert {row[1:] for row in kept if len(row) > 1} <= set(kept)


def test_places_are_those_of_last_tokens_in_a_window(tmp_path: Path) -> None:
    build(tmp_path, Texts(["abab abab", "baba"]), parts=(100, 0, 0), sequence_length=16)
    with Corpus.open(tmp_path) as corpus:
        index = make_index(corpus, "explain", min_count=1, max_ngrams=1000)
        ids = corpus.token_ids(0).astype(np.int64)
        padded = np.concatenate([ids, [-1, 99]])[None]
        places = index.places(padded)
    rows = [tuple(i for i in row if i >= 0) for row in index.ids.tolist()]
    for n in range(3):
        for pos in range(len(ids)):
            wanted = tuple(ids[pos - n : pos + 1].tolist())
            found = places[n, 0, pos]
            assert (found == -1) if pos < n or wanted not in rows else rows[found] == wanted
        assert (places[n, 0, len(ids) :] == -1).all()


def hand_made(suffix: Sequence[int]) -> NgramIndex:
    empty = np.empty(0, np.int64)
    ids = np.zeros((len(suffix), 3), np.int32)
    return NgramIndex(empty, (empty,) * 3, (empty,) * 3, ids, np.array(suffix))


def test_a_longer_ngram_is_listed_only_if_it_adds_to_all_its_suffixes() -> None:
    index = hand_made([-1, 0, 1, -1])  # c, bc, abc, d
    count = np.full(4, 1_000_000)
    effect = torch.tensor([[2.0], [2.1], [2.2], [1.0]])
    assert of_columns(effect, index, count, 4, sign=1).row.tolist() == [0, 3]
    effect[1] = 2.0 + MARGIN + 0.01
    assert of_columns(effect, index, count, 4, sign=1).row.tolist() == [1, 0, 3]
    effect[2] = 5.0
    assert of_columns(effect, index, count, 2, sign=1).row.tolist() == [2, 1]
    rare = np.array([4, 4, 4, 4])  # two standard errors are 1
    assert of_columns(effect, index, rare, 4, sign=1).row.tolist() == [2, 0, 3]
    assert of_columns(-effect, index, rare, 4, sign=-1).row.tolist() == [2, 0, 3]
    assert of_columns(effect, index, rare, 4, sign=-1).row.tolist() == []


def test_neurons_of_an_ngram_by_size_without_undefined_ones() -> None:
    effect = torch.tensor([[1.0, -3.0, torch.nan, 2.0], [torch.nan] * 4])
    found = of_ngrams(effect, 2)
    assert found.row.tolist() == [0, 0]
    assert found.column.tolist() == [1, 3]
    assert found.effect.tolist() == [-3.0, 2.0]
    assert found.rank.tolist() == [0, 1]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ngrams")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl"), folder / "run")) == 0
    return folder / "run"


def ngrams(run_dir: Path, *more: str) -> int:
    return poc4_extract_records.main(["ngrams", "--run_dir", str(run_dir), "--quiet", *more])


def make(run_dir: Path, *more: str) -> dict[str, pd.DataFrame]:
    assert ngrams(run_dir, "--device", "cpu", "--top", "5", *more) == 0
    return {
        stem: CORPUS_ANALYSIS_FOLDER.read_table(run_dir, stem)
        for stem in (NGRAMS, NGRAM_NEURONS, NEURON_NGRAMS, CLUSTER_NGRAMS)
    }


def write_clusters(run_dir: Path, neurons: Sequence[tuple[int, int]]) -> None:
    rows = [("hand-made-1", layer, neuron, 0, 0.0) for layer, neuron in neurons] + [("hand-made-1", 0, 0, -1, 0.0)]
    with Run.open(run_dir) as run, open_folder(run, CORPUS_ANALYSIS_FOLDER, "clusters") as writer:
        for stem in (CLUSTERINGS, CLUSTERS, CLUSTER_TOKENS):
            writer.table(stem, pd.DataFrame(columns=list(CORPUS_ANALYSIS_FOLDER.tables[stem].columns)))
        columns = ["clustering", "layer", "neuron", "cluster", "distance"]
        writer.table(CLUSTER_NEURONS, pd.DataFrame(rows, columns=columns))
        writer.finish(settings={}, facts={})


def test_effects_are_mean_standardised_activations(run_dir: Path) -> None:
    members = [(0, 3), (2, 5)]
    write_clusters(run_dir, members)
    tables = make(run_dir)
    of_ngram, table = tables[NGRAM_NEURONS], tables[NGRAMS]
    with Run.open(run_dir) as run, Records.open(run) as records:
        moments = {layer: records.layer_moments(layer, parts=("explain",)) for layer in records.layers}
        for part, name, counts in (("explain", "effect", "count"), ("select", "held_out_effect", "held_out_count")):
            with open_pass(run, records, ModelOverrides(device="cpu")) as corpus_pass:
                batches = list(corpus_pass.batches(choose_windows(records.corpus, (part,))))  # type: ignore[arg-type]
            for row in of_ngram.iloc[::97].to_dict("records"):
                ngram = table.iloc[row["ngram"]]
                ids = [int(ngram[i]) for i in ("id_1", "id_2", "id_3") if ngram[i] >= 0]
                own = moments[row["layer"]]
                z, per_member = [], []
                for batch in batches:
                    for w, p in zip(*np.nonzero(batch.counts), strict=True):
                        if p + 1 >= len(ids) and batch.token_ids[w, p + 1 - len(ids) : p + 1].tolist() == ids:
                            acts = batch.acts(records.layers.index(row["layer"]))[w, p, row["neuron"]]
                            z.append((float(acts) - own.mean[row["neuron"]]) / own.std[row["neuron"]])
                            per_member.append([
                                (float(batch.acts(at)[w, p, n]) - moments[at].mean[n]) / moments[at].std[n]
                                for at, n in members
                            ])  # fmt: skip
                assert ngram[counts] == len(z)
                if z:
                    assert row[name] == pytest.approx(np.mean(z), abs=1e-4)
                for of_cluster in clusters_of(run_dir, row["ngram"]):
                    found = of_cluster.effect if part == "explain" else of_cluster.held_out_effect
                    assert found == pytest.approx(np.mean(per_member), abs=1e-4) if z else found is None
            assert len(tables[CLUSTER_NGRAMS]) > 0


def test_groups_of_layers_give_the_same_tables(run_dir: Path) -> None:
    whole = make(run_dir)
    n_bytes = 4 * len(whole[NGRAMS]) * 88
    parts = make(run_dir, "--max_memory", str(n_bytes))
    assert CORPUS_ANALYSIS_FOLDER.read_record(run_dir, "ngrams").facts["n_groups"] == 3
    for stem, table in whole.items():
        pd.testing.assert_frame_equal(table, parts[stem], check_exact=False, atol=1e-5)


def test_queries_print_neurons_and_ngrams(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(run_dir, "--min_count", "3")
    capsys.readouterr()
    text = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, NGRAMS)["text"].iloc[0]
    assert ngrams(run_dir, "--query", text, "--json") == 0
    said = json.loads(capsys.readouterr().out)["ngrams"][0]
    wanted = neurons_of(run_dir, find_ngram(run_dir, text).ngrams[0].ngram)
    assert [(n["layer"], n["neuron"], n["effect"]) for n in said["neurons"]] == [
        (n.layer, n.neuron, n.effect) for n in wanted
    ]
    assert ngrams(run_dir, "--query", text) == 0
    assert f"L{wanted[0].layer}N{wanted[0].neuron}" in capsys.readouterr().out
    neuron = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, NEURON_NGRAMS).iloc[0]
    assert ngrams(run_dir, "--query_neuron", f"L{neuron['layer']}N{neuron['neuron']}") == 0
    assert capsys.readouterr().out.count("effect ") > 1


def test_numbers_of_earlier_clusters_are_not_answered(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clusters(run_dir, [(0, 1), (0, 2)])
    make(run_dir, "--min_count", "3")
    assert ngrams(run_dir, "--query_cluster", "hand-made-1:0") == 0
    capsys.readouterr()
    write_clusters(run_dir, [(1, 3)])
    assert ngrams(run_dir, "--query_cluster", "hand-made-1:0") != 0
    assert "the clusters were made again after the n-grams" in capsys.readouterr().err
    make(run_dir, "--min_count", "3")
    assert ngrams(run_dir, "--query_cluster", "hand-made-1:0") == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--query", "no such text"], "'no such text' is not an indexed n-gram"),
        (["--query", "A"], "'A' is not an indexed n-gram; there are "),
        (["--query_neuron", "3:4"], "'3:4' is not a neuron. Write it as L3N113"),
        (["--query_neuron", "L9N9"], "L9N9 has no n-grams"),
        (["--query_cluster", "x"], "'x' is not a cluster"),
        (["--query_cluster", "x:1"], "no n-grams of the cluster x:1"),
        (["--query", "a", "--top", "3"], "--top: has no effect with a query"),
        (["--max_memory", "100"], "Raise it, or lower --max_ngrams"),
        (["--min_count", "100000"], "no token of the part explain occurs 100000 times"),
        (["--layers", "7"], "7"),
    ],
)
def test_mistakes(
    run_dir: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:  # fmt: skip
    if "ngrams" not in CORPUS_ANALYSIS_FOLDER.finished(run_dir):
        make(run_dir)
    capsys.readouterr()
    assert ngrams(run_dir, *more) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_records_says_what_to_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_record_run(tmp_path / "run")
    (tmp_path / "run" / "records" / "records_meta.json").unlink()
    assert ngrams(tmp_path / "run") == 2
    assert "this has not been made yet. Make it with" in capsys.readouterr().err


def test_a_dry_run_loads_no_model_and_writes_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(p.name for p in run_dir.rglob("*"))
    assert ngrams(run_dir, "--dry_run") == 0
    assert "the model runs once over" in capsys.readouterr().out
    assert sorted(p.name for p in run_dir.rglob("*")) == before
