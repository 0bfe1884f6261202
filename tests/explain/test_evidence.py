"""What is gathered about a pole: from documents of `explain` only, with the pole's sign, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analysis_runs import make_run, random_acts
from hand_made_records import AT, records_of
from intervention_results import effect_record, steer_record, write_result
from record_runs import make_record_run

from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.evidence.silent import WindowVectors
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

SETTINGS = EvidenceSettings(min_count=2)
TOKEN, CODE, PAIR, DENSE = (NeuronPole(0, 0, "+"), NeuronPole(1, 7, "-"), NeuronPole(0, 3, "+"), NeuronPole(1, 3, "-"))
"""Kinds of `record_runs`: active on one capital, negative on words of code, on a token after another, everywhere."""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with Records.open(
        make_record_run(tmp_path_factory.mktemp("records") / "run", n_documents=90, n_sample=200)
    ) as found:
        yield found


def everything(records, at, settings=SETTINGS):
    evidence = NeuronEvidence.open(records, at, settings)
    top = evidence.strongest[:10]
    return {
        "strongest": evidence.strongest, "silent": evidence.silent(10), "random": evidence.random(5, shown=top),
        "intervals": evidence.intervals(n_intervals=12, per_interval=2, shown=top),
        "elsewhere": evidence.out_of_context(10, shown=top),
    }  # fmt: skip


@pytest.mark.parametrize("at", [PAIR, DENSE])
def test_every_window_is_of_the_part_explain(records, at):
    for name, excerpts in everything(records, at).items():
        assert excerpts or (name == "silent" and at == DENSE), name
        assert {records.corpus.part_of(w) for e in excerpts for w in e.windows} == {"explain"}, name


def test_the_negative_pole_has_positive_activations_on_its_tokens(records):
    evidence = NeuronEvidence.open(records, CODE, SETTINGS)
    peaks = [e.tokens[e.pos] for e in evidence.strongest]
    assert set(peaks) <= {" def", " return", " class", " import", " self", " None"}
    assert [e.largest for e in evidence.strongest] == sorted((e.largest for e in evidence.strongest), reverse=True)
    assert evidence.largest == pytest.approx(-records.strongest(1, 7, "-", parts=("explain",))[0].value)
    assert {r.token for r in evidence.tokens.rows if r.mean > 1} >= set(peaks)
    other = NeuronEvidence.open(records, CODE._replace(pole="+"), SETTINGS)
    assert other.strongest == [] and other.tokens.rows == () and other.largest == 0.0
    assert other.tokens.overall == pytest.approx(-evidence.tokens.overall)


def test_the_table_has_means_and_counts_of_the_sample(records):
    table = NeuronEvidence.open(records, TOKEN, SETTINGS).tokens
    sample = records.sample(0, 0, parts=("explain",))
    acts, ids = sample.acts[sample.counts], sample.token_ids[sample.counts]
    for row in table.rows:
        (token,) = (t for t in set(ids.tolist()) if records.corpus.strings([t]) == [row.token])
        assert row.n == (ids == token).sum() >= 2 and row.mean == pytest.approx(acts[ids == token].mean(), rel=1e-5)
    assert table.n == len(acts) and table.overall == pytest.approx(acts.mean(), rel=1e-4)
    fewer = NeuronEvidence.open(records, TOKEN, replace(SETTINGS, min_count=10**6)).tokens
    assert fewer.rows == () and fewer.n == table.n


def test_silent_excerpts_are_silent_and_have_the_token_of_a_peak(records):
    evidence = NeuronEvidence.open(records, PAIR, SETTINGS)
    found = evidence.silent(10)
    assert found and all(e.largest <= 0.1 * evidence.largest for e in found)
    assert {e.tokens[e.pos] for e in found} <= {e.tokens[e.pos] for e in evidence.strongest}


def test_kinds_of_hard_negatives_take_turns(tmp_path):
    """One text has the peak's token, one is near by embedding, one is where a neighbour is strong."""
    records = records_of(
        tmp_path / "run", [" a| red=5| cat"], [" a| red| hat", " one| big| dog", " stone| wall", " sea| water"]
    )
    texts = {}

    def embed(wanted):
        texts.update(dict.fromkeys(wanted))
        return np.array([[1.0, "cat" in t or "dog" in t, 0.0] for t in wanted], np.float32)

    vectors = WindowVectors(records.corpus, embed)
    evidence = NeuronEvidence.open(records, AT, SETTINGS, vectors=vectors)
    assert [e.text for e in evidence.silent(2)] == [" a red hat", " one big dog"]
    assert len(evidence.silent(10)) == 4 and len(NeuronEvidence.open(records, AT, SETTINGS).silent(10)) == 1
    n = len(texts)
    NeuronEvidence.open(records, AT, SETTINGS, vectors=vectors).silent(2)
    assert len(texts) == n == 5, "each window is embedded once"


def test_neighbours_add_windows_in_which_they_are_strong(records):
    near = NeuronPole(0, 3, "+")
    alone = {e.window for e in NeuronEvidence.open(records, TOKEN, SETTINGS).silent(50)}
    with_it = NeuronEvidence.open(records, TOKEN, SETTINGS, neighbours=[near]).silent(50)
    added = [e for e in with_it if e.window not in alone]
    assert added and all(e.largest <= 0.1 * NeuronEvidence.open(records, TOKEN, SETTINGS).largest for e in added)
    strong = records.sample(0, 3, parts=("explain",))
    _, peaks = strong.peaks(1)
    place = {int(w): i for i, w in enumerate(strong.windows)}
    assert all(peaks[place[e.window]] >= 0.5 * peaks.max() for e in added)


def test_equal_texts_are_one_excerpt_with_all_windows(tmp_path):
    records = records_of(tmp_path / "run", ["x| cat=5| a", "x| cat=4|  a", "y| cat=3| a"])
    first, second = NeuronEvidence.open(records, AT, SETTINGS).strongest
    assert len(first.windows) == 2 and len(second.windows) == 1 and first.largest == 5


def test_a_long_window_is_cut_around_its_peak(tmp_path):
    words = "|".join(f" w{i}" + ("=9" if i == 50 else "=1") for i in range(100))
    records = records_of(tmp_path / "run", [words, f"{words}|x=30"])
    first, second = NeuronEvidence.open(records, AT, replace(SETTINGS, before=4, after=2)).strongest
    assert second.text == " w46 w47 w48 w49 w50 w51 w52" and second.tokens[second.pos] == " w50"
    assert first.text == " w96 w97 w98 w99x" and first.tokens[first.pos] == "x"


def test_levels_are_shares_of_the_largest_and_unknown_where_positions_do_not_count(tmp_path):
    records = records_of(tmp_path / "run", ["B=500|a=1|b=9.99|c=10|d=0.99|e=-3"], skip_first=1)
    (only,) = NeuronEvidence.open(records, AT, SETTINGS).strongest
    assert only.levels(only.largest).tolist() == [-1, 1, 9, 10, 0, 0] and only.largest == 10


def test_groups_do_not_repeat_windows_or_texts(records):
    evidence = NeuronEvidence.open(records, DENSE, SETTINGS)
    top = evidence.strongest[:10]
    steps = evidence.intervals(n_intervals=12, per_interval=2, shown=top)
    others = evidence.random(5, shown=[*top, *steps])
    windows = [e.window for e in (*top, *steps, *others)]
    assert len(windows) == len(set(windows)) and len(others) == 5
    assert len(steps) > 6 and steps[0].largest > 2 * steps[-1].largest


def test_the_seed_decides(records):
    def windows(seed):
        found = everything(records, DENSE, replace(SETTINGS, seed=seed))
        return {name: [e.window for e in excerpts] for name, excerpts in found.items()}

    one, again, other = windows(1), windows(1), windows(2)
    assert one == again and one["strongest"] == other["strongest"]
    assert one["random"] != other["random"] and one["intervals"] != other["intervals"]


def test_a_neuron_that_is_not_kept_is_refused(records):
    with pytest.raises(UsageError, match="not in the sample"):
        NeuronEvidence.open(records, NeuronPole(0, 2, "+"), SETTINGS).silent(1)


def test_without_a_run_nothing_is_known_of_the_output(records):
    evidence = NeuronEvidence.open(records, TOKEN, SETTINGS)
    assert evidence.writes is None and evidence.changes == [] and evidence.steered == []


def small_run(tmp_path) -> Run:
    prompts = {"a": ["<bos>", "The", " capital", " is"]}
    return make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=12))


def effects(run, **columns):
    row = {"rank": 1, "layer": 0, "neuron": 3, "pole": "", "effect": 0.0, "act": 1.0, "value": 0.0, "delta_norm": 1.0,
           "difference": 0.0, "logprob": 0.0, "probability": -0.1, "rank_before": 0, "rank_after": 0, "kl": 0.0,
           "p": 0.02, "z": 1.0, "n_random": 10}  # fmt: skip
    return pd.DataFrame([{**row, **{k: v[i] for k, v in columns.items()}} for i in range(len(columns["effect"]))])


def test_measured_changes_are_of_this_neuron_and_pole_largest_first(tmp_path):
    with small_run(tmp_path) as run:
        table = effects(run, effect=[1.0, -3.0, 9.0, 2.0, 0.5], neuron=[3, 3, 4, 3, 3], act=[1.0, 2.0, 1.0, -1.0, 1.0],
                        value=[0.0, 0.0, 0.0, -2.0, -4.0], pole=["", "", "", "", "-"])  # fmt: skip
        write_result(run, "effect_some", effect_record(run), table)
        records = Records.open(make_record_run(tmp_path / "records"))
        plus = NeuronEvidence.open(records, NeuronPole(0, 3, "+"), SETTINGS, run).changes
        minus = NeuronEvidence.open(records, NeuronPole(0, 3, "-"), SETTINGS, run).changes
    assert [(c.effect, c.before, c.after) for c in plus] == [(-3.0, 2.0, 0.0), (1.0, 1.0, 0.0)]
    assert [(c.effect, c.before, c.after) for c in minus] == [(2.0, 1.0, 2.0), (0.5, -1.0, 4.0)]
    assert plus[0].token == " Austin" and plus[0].probability == -0.1 and plus[0].p == 0.02


def test_steered_texts_are_those_of_this_neuron_that_are_not_broken(tmp_path):
    with small_run(tmp_path) as run:
        write_result(run, "steer_a", steer_record(run).model_copy(update={"what": "L0N3"}))
        write_result(run, "steer_b", steer_record(run))
        records = Records.open(make_record_run(tmp_path / "records"))
        plus = NeuronEvidence.open(records, NeuronPole(0, 3, "+"), SETTINGS, run).steered
        minus = NeuronEvidence.open(records, NeuronPole(0, 3, "-"), SETTINGS, run).steered
    assert [(t.amount, t.text) for t in plus] == [
        (0, " Austin, which is"), (-4, " a large city"), (8, " Austin Austin Austin"),
    ]  # fmt: skip
    assert [t.amount for t in minus] == [0, 4, -8]
