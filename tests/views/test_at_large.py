"""One neuron at large from hand-made results: every part, nulls, what is missing, damaged or outdated."""

from __future__ import annotations

import shutil

import neuron_tables
import pytest
from analysis_runs import BOS, make_run, random_acts
from neuron_tables import EVIL, HDBSCAN, KMEANS, MARKUP
from record_runs import make_record_run

from neuron_signatures.runs.names import CORPUS_ANALYSIS
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.views.at_large.neuron import AtLarge, MeaningGroup, read_at_large, tokens_of
from neuron_signatures.views.at_large.texts import (
    cluster_words,
    group_words,
    meaning_sentence,
    neighbours_words,
    ngram_words,
    similar_words,
    weights_sentence,
)
from neuron_signatures.views.at_large.windows import grouped_windows
from neuron_signatures.views.coords import NeuronAt

AT = NeuronAt(0, 1)


@pytest.fixture
def run_dir(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path / "run"


def test_a_run_without_results_says_nothing(run_dir):
    assert read_at_large(run_dir, AT) == AtLarge(AT)


def test_every_part_of_one_neuron(run_dir):
    neuron_tables.everything(run_dir)
    known = read_at_large(run_dir, AT)
    assert known.done == ("statistics", "similar", "clusters", "meanings", "ngrams")
    assert not known.problems and not known.outdated and not known.is_empty
    assert known.weights is not None and known.weights.cls == "suppression" and known.weights.logit_kurtosis == 7
    assert [n.at for n in known.neighbours if n.weight == "output"] == [(1, 2), (1, 3), (7, 4)]
    assert [m.cluster for m in known.clusters] == [0, 0] and known.clusters[0].clustering == KMEANS
    assert [(m.pole, m.n_groups, len(m.groups)) for m in known.meanings] == [("+", 2, 2), ("-", 2, 2)]
    assert known.meanings[0].groups[1].tokens == (f" {EVIL}", " a")
    assert {(n.pole, n.text, n.n) for n in known.ngrams} >= {("+", f" {EVIL}", 99), ("-", MARKUP, 98)}


def test_noise_is_no_cluster_and_a_cluster_without_a_row_has_no_name(run_dir):
    neuron_tables.clusters(run_dir)
    by_name = {m.clustering: m for m in read_at_large(run_dir, NeuronAt(1, 0)).clusters}
    assert cluster_words(by_name[HDBSCAN]) == "noise: in no cluster"
    assert cluster_words(by_name[KMEANS]).startswith("1 ·<img")


def test_sentences_name_the_null_and_say_undefined(run_dir):
    neuron_tables.everything(run_dir)
    known, other = read_at_large(run_dir, AT), read_at_large(run_dir, NeuronAt(1, 1))
    assert weights_sentence(known.weights) == (
        "suppression: kurtosis 7, skewness +0.00, variance 0.001, |w_out| 1, weakest 2 % of W_U 2.0%, "
        "cos in, out -0.10, token frequency r +0.30"
    )
    assert "statistic 0.4, null 0.2 ± 0.05, p ≤ 0.004, q 0.01, 500 draws" in meaning_sentence(known.meanings[0])
    assert "effective number 1.75 (random neurons 1.25) in 2 groups of 4 windows" in meaning_sentence(known.meanings[0])
    assert "null undefined ± undefined" in meaning_sentence(other.meanings[0])
    assert meaning_sentence(known.meanings[0]._replace(effective_number=None, statistic=None)) == \
        "too few strong windows (4)"  # fmt: skip
    assert neighbours_words(known.neighbours, "output", 2) == "L1N2 +0.40, L1N3 undefined (null up to 0.25)"
    assert similar_words(known.similar, "windows", "+", 1) == "L1N2- 0.50 (null up to 0.20)"
    assert similar_words(known.similar, "activation", "", 1) == "L1N2 -0.50 (null up to 0.20)"
    assert ngram_words(known.ngrams, "+", 1) == f"·{EVIL} +2.5 (not held out)"


@pytest.mark.parametrize(("text", "expected"), [("[]", ()), ('[" a", 3]', (" a", "3")), ("{not json", ("{not json",)),
                                                ('{"a": 1}', ('{"a": 1}',)), (None, ())])  # fmt: skip
def test_tokens_of_a_group(text, expected):
    assert tokens_of(text) == expected


def test_control_characters_of_tokens_are_escaped():
    group = MeaningGroup(0, 3, 0.5, ("\x1b[31mred", " \u202e"), None)
    assert group_words(group) == "50% \\x1b[31mred ·\\u202e"


def test_damaged_tables_are_one_line_each_and_the_rest_is_read(run_dir):
    neuron_tables.everything(run_dir)
    (run_dir / CORPUS_ANALYSIS / "similar.parquet").write_bytes(b"PAR1 not a table PAR1")
    (run_dir / CORPUS_ANALYSIS / "meaning_groups.parquet").unlink()
    known = read_at_large(run_dir, AT)
    assert len(known.problems) == 2 and "similar.parquet" in known.problems[0]
    assert known.weights is not None and len(known.meanings) == 2 and not known.similar


def test_results_of_other_records_are_outdated(run_dir):
    make_record_run(run_dir, n_documents=12)
    sources = (f"{RECORDS}/{RECORDS_META}",)
    neuron_tables.similar(run_dir, sources)
    assert read_at_large(run_dir, AT).outdated == ()
    shutil.rmtree(run_dir / RECORDS)
    make_record_run(run_dir, n_documents=13)
    known = read_at_large(run_dir, AT)
    assert known.outdated == ("similar",) and known.similar


def test_windows_by_meaning_are_those_of_the_records(run_dir):
    make_record_run(run_dir, n_documents=20)
    with Records.open(run_dir) as records:
        strongest = records.strongest(0, 1, "+", parts=("explain", "select"))
        rows = [(r, w.window, r % 2) for r, w in enumerate(strongest)]
        _meaning_windows(run_dir, rows)
        found = grouped_windows(records, run_dir, AT)
    assert [(g.pole, g.group) for g in found] == [("+", 0), ("+", 1)]
    for g in found:
        assert {w.window for p in g.passages for w in p.windows} == {w for _, w, group in rows if group == g.group}


def _meaning_windows(run_dir, rows):
    key = {"layer": 0, "neuron": 1, "pole": "+"}
    windows = [{**key, "rank": rank, "window": window, "pos": 0, "group": group} for rank, window, group in rows]
    neuron_tables.analysis(run_dir, "meanings", {"meanings": [], "meaning_groups": [], "meaning_windows": windows}, ())


def test_where_no_null_was_drawn_for_a_neuron_it_has_that_of_all(run_dir):
    rows = [{"layer": 0, "neuron": 1, "pole": "", "kind": "activation", "rank": rank, "other_layer": 1,
             "other_neuron": rank, "other_pole": "", "value": 0.5, "null_high": null, "n": 9}
            for rank, null in ((1, 0.25), (2, None))]  # fmt: skip
    folder, facts = neuron_tables.CORPUS_ANALYSIS_FOLDER, {"activation": {"null_high": 0.125}}
    neuron_tables.write(run_dir, folder, "similar", {"similar": rows}, facts)
    assert [s.null_high for s in read_at_large(run_dir, AT).similar] == [0.25, 0.125]
