"""Scores as plain values: rows, sentences, true and simulated activations side by side, mistakes, comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from explanation_runs import unfinished
from record_runs import make_record_run
from score_runs import HEADLINE, about, intervals, line, make_scored_run, value, write_score_log, write_set

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.line import StoredMistake, StoredWindow
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.scores.reader import Scores
from neuron_signatures.views.scores import over_neurons
from neuron_signatures.views.scores.commands import nothing_text
from neuron_signatures.views.scores.mistakes import shown_mistakes
from neuron_signatures.views.scores.reading import RunScores, has_scores
from neuron_signatures.views.scores.shown import by_explanation
from neuron_signatures.views.scores.texts import score_sentence, short_number, undefined_in_words
from neuron_signatures.views.scores.windows import aligned_windows

AT = NeuronPole(0, 0, "+")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return make_scored_run(tmp_path_factory.mktemp("scores") / "run")


@pytest.fixture
def scores(run_dir: Path) -> RunScores:
    return RunScores(run_dir)


def first(scores: RunScores, name: str, at: NeuronPole = AT):
    """The first explanation of a pole in a scored set."""
    return next(e for e in by_explanation(scores.score_rows(at)) if e.name == name)


def test_a_sentence_has_value_interval_null_lift_and_n(scores: RunScores):
    row = first(scores, "intervals__embedding").first.row
    null = short_number(row.null_best), short_number(row.null_sd)
    assert score_sentence(row) == (
        f"correlation/uniform .60 [.55, .65], null {null[0]} ± {null[1]} (12 draws), lift {short_number(row.lift)}, "
        "n 400 (12 active)"
    )


def test_an_undefined_score_says_why_and_a_failed_explanation_that_it_failed(scores: RunScores):
    undefined = [s for s in scores.score_rows(NeuronPole(0, 3, "+")) if s.name == "intervals__embedding"]
    assert "undefined: the prediction is the same everywhere" in score_sentence(undefined[0].row)
    failed = first(scores, "highlighted__detection-some-model", NeuronPole(0, 1, "+")).first
    assert failed.failed and score_sentence(failed.row) == "not scored: timed out"
    half = first(scores, "highlighted__detection-some-model", NeuronPole(0, 2, "-")).first
    assert "coverage 50%" in score_sentence(half.row)


@pytest.mark.parametrize(
    ("x", "text"), [(0.413, ".41"), (-0.05, "-.05"), (1.0, "1.00"), (-12.3, "-12.30"), (0.001, ".00"), (-0.001, "-.00"),
                    (-0.005, "-.01"), (0.0, ".00"), (-0.0, ".00"), (0.999, "1.00"), (-0.999, "-1.00"), (None, "-")],
)  # fmt: skip
def test_short_numbers(x: float | None, text: str):
    assert short_number(x) == text


def test_numbers_with_a_sign():
    assert [short_number(x, sign=True) for x in (0.4, 0.001, 0.0, -0.001)] == ["+.40", "+.00", ".00", "-.00"]


def test_reasons_are_in_words_and_those_of_later_versions_escaped():
    assert undefined_in_words("too_few_examples") == "too few examples"
    assert undefined_in_words("later_reason\x1b[31m") == "later reason\\x1b[31m"


def test_rows_of_finished_scores_are_those_of_the_reader(run_dir: Path, scores: RunScores):
    own = list(Scores.open(run_dir).of(0, 0, "+"))
    found = [s.row for s in scores.score_rows(AT)]
    assert sorted(map(repr, found)) == sorted(map(repr, own))
    assert [s.row.score for s in scores.score_rows(AT) if s.is_headline and s.name == "lookup__rule"] == [HEADLINE]


def test_controls_and_values_for_choosing_are_told_apart(scores: RunScores):
    shown = first(scores, "highlighted__embedding").first
    assert shown.controls == [("shuffled", 0.4), ("text", 0.01), ("lookup", 0.7), ("ceiling", 0.98)]
    ats = {
        NeuronPole(int(r.layer), int(r.neuron), r.pole) for r in scores.table("contrastive__rule-select").itertuples()
    }
    rows = [s for at in ats for s in scores.score_rows(at)]
    chosen = [s for s in rows if s.name == "contrastive__rule-select"]
    assert chosen and not any(s.is_score for s in chosen)
    assert "for choosing, not a score" in score_sentence(chosen[0].row)
    assert not any(s.is_finished for s in rows if s.name == "contrastive__rule")


def test_truth_and_prediction_are_of_the_same_tokens(run_dir: Path, scores: RunScores):
    own = scores.own_line("intervals__embedding", first(scores, "intervals__embedding").explanation_id)
    with Records.open(run_dir) as records:
        windows = aligned_windows(records, own, AT)
        sample = records.sample(0, 0, parts=("report",))
        largest = records.strongest(0, 0, "+", k=1, rows=False)[0].value
    assert [w.sample for w in windows] == ["uniform", "uniform", "uniform", "top"]
    for i, w in enumerate(windows[:3]):
        np.testing.assert_allclose(w.true, sample.acts_of(i), rtol=1e-6)
        np.testing.assert_allclose(w.true_shares, w.true / largest)
        assert len(w.tokens) == len(w.true) == len(w.predicted) and w.problem == "" and w.part == "report"
    most = max(v for w in windows[:3] for v in w.predicted)
    np.testing.assert_allclose(windows[0].predicted_shares, windows[0].predicted / most)
    refused = windows[3]
    assert refused.status == "refused" and refused.predicted is None and refused.true is not None


def test_shares_of_a_negative_pole_are_negative(run_dir: Path):
    at = NeuronPole(0, 2, "-")
    with Records.open(run_dir) as records:
        window = records.strongest(*at, k=1)[0]
        stored = StoredWindow(window=window.window, sample="top", values=[0.5] * len(window.tokens))
        found = aligned_windows(records, line(at, "0" * 16, {HEADLINE: 0.1}, windows=[stored]), at)[0]
    assert found.true_shares[window.pos] == pytest.approx(-1) and (found.predicted_shares == -1).all()


def test_a_part_of_a_window_is_aligned_by_its_first_position(run_dir: Path):
    with Records.open(run_dir) as records:
        text = records.strongest(0, 0, "+", k=1)[0]
        part = StoredWindow(window=text.window, sample="sixty", first=text.pos, values=[3.0])
        found = aligned_windows(records, line(AT, "0" * 16, {HEADLINE: 0.1}, windows=[part]), AT)[0]
    assert found.tokens == (text.tokens[text.pos],) and found.true[0] == pytest.approx(text.value)


def test_what_the_records_lack_is_said(run_dir: Path, tmp_path: Path):
    mistakes = [StoredMistake(window=10**6, pos=0, predicted=1.0, actual=0.0)]
    gone = StoredWindow(window=10**6, sample="mistake", values=[0.1])
    long = StoredWindow(window=0, sample="top", values=[0.1] * 4000)
    own = line(AT, "0" * 16, {HEADLINE: 0.1}, windows=[gone, long], mistakes=mistakes)
    with Records.open(run_dir) as records:
        assert [(w.tokens, "no such window" in w.problem) for w in aligned_windows(records, own, AT)] == [
            ((), True)
        ] * 2
        assert shown_mistakes(records, own)[0].tokens == ()
    assert "no records" in aligned_windows(None, own, AT)[0].problem
    other = make_record_run(tmp_path / "run", chosen=[(1, 1)])  # without the activations of the neuron
    whole = StoredWindow(window=0, sample="top", values=[0.1])
    with Records.open(other) as records:
        found = aligned_windows(records, line(AT, "0" * 16, {HEADLINE: 0.1}, windows=[whole]), AT)[0]
    assert found.tokens and found.true is None and "do not keep the activations" in found.problem


def test_mistakes_have_their_context_and_the_largest_is_first(run_dir: Path, scores: RunScores):
    own = scores.own_line("intervals__embedding", first(scores, "intervals__embedding").explanation_id)
    with Records.open(run_dir) as records:
        found = shown_mistakes(records, own)
    assert [(m.kind, m.size) for m in found] == [("predicted too little", 1.0), ("predicted too much", 0.9)]
    assert all(m.token == m.tokens[m.pos] and m.before == m.tokens[: m.pos] for m in found)


def test_summaries_leave_out_what_was_not_scored_and_refuse_values_for_choosing(scores: RunScores):
    found = over_neurons.summary_of(scores.table("highlighted__embedding"), HEADLINE)
    assert found.score == HEADLINE and found.n == 3 and found.failed and found.undefined == {"constant_prediction": 1}
    with pytest.raises(UsageError, match="no scores"):
        over_neurons.summary_of(scores.table("contrastive__rule-select"), HEADLINE)
    layers = over_neurons.by_layer(scores.table("intervals__embedding"), HEADLINE)
    assert [s.group["layer"] for s in layers] == [0, 1]
    values = [p.value for p in over_neurons.points(scores.table("intervals__embedding"), HEADLINE) if p.at.layer == 1]
    assert layers[1].mean == pytest.approx(sum(values) / len(values))


def test_pairs_of_two_sets_are_of_the_same_poles(scores: RunScores):
    a, b = scores.table("highlighted__embedding"), scores.table("intervals__embedding")
    both = over_neurons.pairs(a, b, HEADLINE)
    compared = over_neurons.compared(a, b, HEADLINE)
    assert len(both) == compared.n == 2
    assert compared.difference == pytest.approx(np.mean([p.a - p.b for p in both]))
    assert "over 2 poles of 2 neurons" in over_neurons.comparison_sentence(compared)
    infos = {i.name: i for i in scores.sets}
    same = over_neurons.same_scorer(scores.sets, infos["highlighted__embedding"], HEADLINE)
    assert [i.name for i in same] == ["intervals__embedding"]
    assert over_neurons.same_scorer(scores.sets, infos["contrastive__rule-select"], HEADLINE) == []


def test_the_lowest_and_the_largest_values(scores: RunScores):
    table = scores.table("intervals__embedding")
    lowest = [r.value for r in over_neurons.extreme_rows(table, HEADLINE, 3)]
    largest = [r.value for r in over_neurons.extreme_rows(table, HEADLINE, 3, largest=True)]
    every = sorted(v for v in table[table["score"] == HEADLINE]["value"].dropna())
    assert lowest == every[:3] and largest == every[::-1][:3]


def test_a_damaged_log_is_a_problem_and_the_others_are_read(tmp_path: Path):
    run_dir = make_scored_run(tmp_path / "run")
    folder = run_dir / SCORES
    log = folder / "contrastive__rule.jsonl"  # unfinished: read at once
    log.write_bytes(b"{}\n" + log.read_bytes())
    (folder / "lookup__rule.parquet").write_bytes(b"no table")
    scores = RunScores(run_dir)
    assert "contrastive__rule" not in [s.name for s in scores.sets] and len(scores.problems) == 1
    assert "contrastive__rule.jsonl" in scores.problems[0]
    names = {s.name for s in scores.score_rows(AT)}
    assert names == {"highlighted__embedding", "intervals__embedding", "highlighted__detection-some-model"}
    assert len(scores.problems) == 2 and any("lookup__rule" in p for p in scores.problems)


def test_lines_that_are_appended_are_read(tmp_path: Path):
    run_dir = make_record_run(tmp_path / "run")
    write_set(run_dir, intervals())
    assert not has_scores(run_dir) and "poc6_score_explanations --run_dir" in nothing_text(run_dir)
    of = about("intervals", "rule")
    write_score_log(run_dir, of, [line(AT, "a" * 16, {HEADLINE: 0.1})], finished=False)
    scores = RunScores(run_dir)
    assert [s.row.value for s in scores.score_rows(AT)] == [0.1] and not scores.sets[0].finished
    write_score_log(run_dir, of, [line(AT, "a" * 16, {HEADLINE: value(0.3)})])
    scores.refresh()
    assert [s.row.value for s in scores.score_rows(AT)] == [0.3] and scores.sets[0].finished


def test_without_explanations_the_command_makes_them_first(tmp_path: Path):
    run_dir = make_record_run(tmp_path / "run")
    assert "poc5_explain_neurons" in nothing_text(run_dir)
    write_set(run_dir, unfinished(), finished=False)
    assert "poc6_score_explanations" in nothing_text(run_dir)
