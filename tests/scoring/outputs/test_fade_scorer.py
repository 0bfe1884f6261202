"""The scorer `fade`: its measures on values whose answer is visible, and all of it on the demo model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from misbehaving_server import Act, Asked, MisbehavingServer, answer, refusal
from scipy import stats
from scored_texts import text
from subject_runs import FROM, item_of, question, score, texts_of, tools_for, writer

from neuron_signatures.llm.json_text import NotJson
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.outputs.fade import FadeScorer
from neuron_signatures.scoring.outputs.fade_measures import (
    Outcomes,
    RatedWindow,
    best_doses,
    clarity,
    faithfulness,
    purity,
    responsiveness,
    stretch_peaks,
)
from neuron_signatures.scoring.outputs.rating import read_ratings

DESIGN = Design(n_draws=300, min_positives=2)
NAMES = ("clarity/fade", "responsiveness/fade", "purity/fade", "faithfulness/fade", "faithfulness_random/fade")


def windows(acts: Sequence[float], ratings: list[int]) -> list[RatedWindow]:
    return [RatedWindow(i, i, float(act), rating) for i, (act, rating) in enumerate(zip(acts, ratings, strict=True))]


def test_clarity_and_responsiveness_are_twice_the_auroc_less_one():
    random = np.random.default_rng(0)
    yes, no = random.normal(1, 1, 12).round(1), random.normal(0, 1, 30).round(1)
    area = stats.mannwhitneyu(yes, no).statistic / (12 * 30)
    found = clarity(yes.tolist(), [(i, x) for i, x in enumerate(no.tolist())], FROM, DESIGN, interval=True)
    assert found.value == pytest.approx(2 * area - 1, abs=1e-9) and found.low < found.value < found.high
    assert (found.n, found.n_positive) == (42, 12)
    rated = windows([*yes.tolist(), *no.tolist(), 99.0, -99.0], [2] * 12 + [0] * 30 + [1, 1])
    found = responsiveness(rated, FROM, DESIGN, interval=True)
    assert found.value == pytest.approx(2 * area - 1, abs=1e-9) and found.n == 42


def test_purity_is_the_average_precision_and_leaves_unclear_windows_out():
    rated = windows([5, 4, 3, 2, 9], [2, 0, 2, 0, 1])
    found = purity(rated, FROM, DESIGN, interval=True)
    assert found.value == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("measure", [responsiveness, purity])
def test_windows_of_one_rating_alone_give_no_value(measure):
    found = measure(windows([1, 2, 3], [2, 2, 2]), FROM, DESIGN, interval=True)
    assert found.value is None and found.undefined == "too_few_examples" and found.low is None


def test_faithfulness_reports_each_half_at_the_best_dose_of_the_other():
    """Dose 2 works on even prompts, dose 8 on odd ones: each half is reported at the dose of the other half."""
    clean = [False] * 4
    outcomes = Outcomes(clean, {2.0: [True, False, True, False], 8.0: [False, True, False, True]})
    assert best_doses(outcomes) == (8.0, 2.0)
    found = faithfulness(outcomes, FROM, DESIGN, interval=True)
    assert found.value == 0.0 and found.n == 4
    same = Outcomes([True, False, False, False], {2.0: [False] * 4, 8.0: [True, True, True, False]})
    assert best_doses(same) == (8.0, 8.0)
    assert faithfulness(same, FROM, DESIGN, interval=True).value == pytest.approx((3 / 4 - 1 / 4) / (1 - 1 / 4))


def test_faithfulness_is_undefined_where_every_text_has_the_concept_or_ratings_failed():
    always = Outcomes([True] * 4, {2.0: [True] * 4})
    assert faithfulness(always, FROM, DESIGN, interval=True).undefined == "always_expressed"
    failed = Outcomes([None] * 3 + [False], {2.0: [True] * 4})
    assert faithfulness(failed, FROM, DESIGN, interval=True).undefined == "too_few_examples"
    assert best_doses(Outcomes([False] * 2, {2.0: [None] * 2})) == (None, None)


def test_a_window_counts_by_a_stretch_of_counted_positions():
    window = text("a b c d", [9.0, 1.0, 2.0, 3.0], first=1, document=4)
    found = {stretch_peaks([window], 1, np.random.default_rng(i))[0] for i in range(30)}
    assert found == {(4, 1.0), (4, 2.0), (4, 3.0)}
    assert stretch_peaks([window], 10, np.random.default_rng(0)) == [(4, 3.0)]


def by_word(asked: Asked) -> Act:
    """Writes, and rates a text by whether it has the last word of the concept."""
    found = question(asked)
    if "explanation" in found:
        return writer(asked)
    word = str(found["concept"]).split()[-1]
    return answer(json.dumps([2 * (word in one.split()) for one in found["texts"]]))


def test_the_true_explanation_is_clear_responsive_and_pure_and_another_is_not(run_dir, tmp_path):
    items = [item_of(FROM), item_of(FROM, said="the word to", control="other")]
    design = Design(n_draws=200, min_positives=3)
    with (
        MisbehavingServer(by_word) as server,
        tools_for(run_dir, server.base_url, llm_dir=tmp_path, design=design) as tools,
    ):
        own, other = score(FadeScorer, tools, items)
    assert own.measures.keys() == {*NAMES} and other.measures.keys() == {*NAMES[:4]}
    assert [own.measures[name].value > 0.9 for name in NAMES[:3]] == [True] * 3
    for name in NAMES[:3]:
        assert own.measures[name].low <= own.measures[name].value <= own.measures[name].high
        assert other.measures[name].value is None or other.measures[name].value < own.measures[name].value - 0.2
    assert own.measures["faithfulness/fade"].value is not None
    assert own.measures["faithfulness/fade"].n == 10
    continuations = [e for e in own.examples if "prompt" in e]
    assert len(continuations) == 100 and {e["dose"] for e in continuations} == {0.0, 2.0, 8.0, 32.0}
    assert other.examples == [] and set(own.statuses) == {"ok"}


def test_failed_requests_leave_their_texts_out(run_dir, tmp_path):
    def script(asked: Asked) -> Act:
        return writer(asked) if "explanation" in question(asked) else refusal()

    with MisbehavingServer(script) as server, tools_for(run_dir, server.base_url, llm_dir=tmp_path) as tools:
        (own,) = score(FadeScorer, tools, [item_of(FROM)])
    assert own.measures["clarity/fade"].value > 0.9
    assert {own.measures[name].undefined for name in NAMES[1:]} == {"too_few_examples"}
    assert own.statuses[:2] == ["ok", "ok"] and set(own.statuses[2:]) == {"refused"}


def test_the_same_again_is_not_paid_again_and_the_forecast_is_no_less(run_dir, tmp_path):
    found = []
    with MisbehavingServer(by_word) as server:
        for _ in range(2):
            with tools_for(run_dir, server.base_url, llm_dir=tmp_path) as tools:
                scorer = FadeScorer(tools)
                forecast = scorer.requests_of(item_of(FROM), texts_of(tools.records, FROM, tools.design))
                assert tools.subject_model._loaded is None
                found += score(FadeScorer, tools, [item_of(FROM)])
        n = len(server.requests)
    assert n == len(found[0].statuses) <= len(forecast) == 18
    assert (found[0].measures, found[0].examples) == (found[1].measures, found[1].examples)


@pytest.mark.parametrize("answered", ["", "[0, 1]", "[0, 1, 3]", "[0, 1, 1.0]", "[0, 1, true]", '["0", 1, 2]', "{}"])
def test_only_a_list_of_all_ratings_is_an_answer(answered):
    with pytest.raises(NotJson):
        read_ratings(answered, 3)
