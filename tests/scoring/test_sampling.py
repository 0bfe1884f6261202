"""The windows on which explanations are scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from record_runs import make_record_run

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.texts import SIGN, uniform_texts

CAPITAL, CODE, DEAD = NeuronPole(0, 1, "+"), NeuronPole(0, 10, "-"), NeuronPole(0, 4, "+")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    run = make_record_run(tmp_path_factory.mktemp("sampling") / "run", n_documents=132, n_sample=200)
    with Records.open(run) as found:
        yield found


def test_scored_windows_are_of_the_split_and_fitted_ones_of_another_part(records: Records) -> None:
    for split, fit in (("report", "select"), ("select", "explain")):
        found = neuron_texts(records, CAPITAL, Design(split=split))
        for groups, part in ((found.scored, split), (found.fitted, fit)):
            assert set(groups) == {"top", "random", "uniform"}
            assert {records.corpus.part_of(t.window) for g in groups.values() for t in g} == {part}


@pytest.mark.parametrize("at", [CAPITAL, CODE])
def test_top_are_the_strongest_windows_and_random_are_others_of_the_uniform_sample(at, records: Records) -> None:
    found = neuron_texts(records, at, Design(n_top=3, n_random=4)).scored
    whole = uniform_texts(records, at, parts=("report",))
    strongest = records.strongest(*at, parts=("report",), k=3)
    assert [t.window for t in found["top"]] == [w.window for w in strongest]
    assert [t.peak for t in found["top"]] == sorted((t.peak for t in found["top"]), reverse=True)
    assert all(t.peak > 0 for t in found["top"])
    assert [t.window for t in found["uniform"]] == [t.window for t in whole]
    random = {t.window for t in found["random"]}
    assert len(random) == 4
    assert random <= {t.window for t in whole} - {t.window for t in found["top"]}
    for text in whole:
        np.testing.assert_array_equal(text.tokens, records.corpus.strings(text.token_ids))


def test_fewer_uniform_windows_are_some_at_random_in_corpus_order_with_the_random_ones_among_them(records) -> None:
    design = Design(n_top=0, n_random=4, n_uniform=10)
    plus, minus = (neuron_texts(records, NeuronPole(0, 1, pole), design).scored for pole in ("+", "-"))
    windows = [t.window for t in plus["uniform"]]
    assert len(windows) == 10 and windows == sorted(windows) == [t.window for t in minus["uniform"]]
    assert {t.window for t in plus["random"]} <= set(windows)
    other_neuron, other_seed = (
        neuron_texts(records, at, Design(n_uniform=10, seed=seed)).scored["uniform"]
        for at, seed in ((NeuronPole(0, 0, "+"), 0), (CAPITAL, 1))
    )
    assert len({tuple(t.window for t in ts) for ts in (plus["uniform"], other_neuron, other_seed)}) == 3


def test_the_threshold_is_the_99th_percentile_and_the_largest_the_maximum_on_explain(records: Records) -> None:
    for at in (CAPITAL, CODE):
        found = neuron_texts(records, at, Design())
        texts = uniform_texts(records, at, parts=("explain",))
        acts = np.concatenate([t.acts[t.counts] for t in texts])
        assert found.threshold == pytest.approx(np.percentile(acts.astype(np.float64), 99), abs=1e-12)
        row = records.neurons().slice(at.layer * records.d_mlp + at.neuron, 1)  # `max` and `min` are those of explain
        largest = row["max"][0].as_py() if at.pole == "+" else -row["min"][0].as_py()
        assert found.largest == pytest.approx(largest)


def test_a_dead_neuron_has_windows_and_nothing_at_the_top(records: Records) -> None:
    found = neuron_texts(records, DEAD, Design())
    assert (found.threshold, found.largest, found.scored["top"]) == (0, 0, ())
    assert len(found.scored["random"]) == 5


def test_a_neuron_whose_activations_are_not_stored_is_refused(records: Records) -> None:
    with pytest.raises(UsageError, match="L0N2 is not in the sample"):
        neuron_texts(records, NeuronPole(0, 2, "+"), Design())


@pytest.mark.parametrize("at", [CAPITAL, CODE])
def test_sixty_examples_are_each_window_once_and_tokens_out_of_context(at: NeuronPole, records: Records) -> None:
    found = neuron_texts(records, at, Design(sampling="sixty"))
    assert (set(found.scored), found.fitted) == ({"sixty"}, {})
    texts = found.scored["sixty"]
    assert {records.corpus.part_of(t.window) for t in texts} == {"report"}
    whole = [t for t in texts if len(t.tokens) == records.corpus.window_length[t.window]]
    alone = [t for t in texts if t not in whole]
    assert [t.window for t in whole[:6]] == [w.window for w in records.strongest(*at, parts=("report",), k=6)]
    assert len({t.window for t in whole}) == len(whole) <= 40
    assert 0 < len(alone) <= 20
    sample = {t.window: t for t in uniform_texts(records, at, parts=("report",))}
    peaks = {t.tokens[t.peak_pos] for t in whole[:6]}
    for text in alone:
        assert (len(text.tokens), len(text.acts), len(text.token_ids), text.counts.tolist()) == (1, 1, 1, [True])
        assert text.acts[0] == sample[text.window].acts[text.first]
        assert text.tokens[0] == sample[text.window].tokens[text.first]
    assert {t.tokens[0] for t in alone} & peaks
    shown = records.out_of_context(*at, 20, parts=("report",))
    assert [(t.window, t.first) for t in alone] == [(w.window, w.pos) for w in shown]
    assert [float(t.acts[0]) for t in alone] == [pytest.approx(SIGN[at.pole] * (w.value or 0)) for w in shown]


def test_the_windows_are_the_same_every_time(records: Records) -> None:
    for design in (Design(n_uniform=20), Design(sampling="sixty")):
        one, again = (neuron_texts(records, CAPITAL, design) for _ in range(2))
        for group, texts in one.scored.items():
            assert [(t.window, t.first) for t in texts] == [(t.window, t.first) for t in again.scored[group]]
