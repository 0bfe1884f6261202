"""What the report says of swaps, side effects, equal texts, and rules that are scored by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from explanation_runs import Log, lookup
from explorer import plain_run
from intervention_results import side_effects as measured
from intervention_results import steer_record, swap_pair, swap_record, swaps_record
from record_runs import make_record_run
from report_pages import Page, make_report
from score_runs import HEADLINE, about, line, make_scored_run, value, write_score_log, write_set

from neuron_signatures.reporting.side_effects import side_effects
from neuron_signatures.reporting.swap_words import intervention_name, intervention_words
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("words") / "run"
    plain_run(folder)
    with Run.open(folder) as opened:
        yield opened


def swap_words(run: Run, *, smallest_k: int | None = 8, **controls: object) -> str:
    """The words of a swap with these fields of its controls changed."""
    pair = swap_pair(run, "p", smallest_k=smallest_k)
    pair = pair.model_copy(update={"controls": pair.controls.model_copy(update=controls)})
    return " ".join(intervention_words(swap_record(run, pairs=[pair])))


def test_a_swap_says_its_effect_beside_that_of_random_sets(run):
    record = swap_record(run)
    assert intervention_name(record).startswith("swap ·Austin → ·Sacramento after ")
    effect, change, random, control = intervention_words(record)
    assert effect == "8 changed cells (neurons at positions) make ·Sacramento the most likely token."
    assert change.endswith("by 6.0; 1,000 random sets of as many cells: 0.1 (-0.5 to 0.7 for 90 % of them).")
    assert random == "0 of the random sets flip the answer; p 0.001."
    assert control == (
        "As a control, 8 cells chosen in the same way for another source (“The capital of the state containing "
        "Boulder is”) give that source's answer, ·Denver, and not ·Sacramento (·Denver +4.8 logits, ·Sacramento +0.4)."
    )


def test_a_swap_that_shows_nothing_says_so(run):
    assert "do not make ·Sacramento the most likely token" in swap_words(run, smallest_k=None)
    pair = swap_pair(run, "p")
    weak = pair.controls.random.model_copy(update={"p": 0.4})
    assert "Random sets do as much (p 0.4): no effect of these cells is shown." in swap_words(run, random=weak)
    assert "the same changes at other positions do as much" in swap_words(run, scrambled=weak)
    assert "lowers the difference" in swap_words(run, observed=-2.0)
    wrong = pair.controls.wrong_source
    failed = swap_words(run, wrong_source=wrong.model_copy(update={"own_logit": 0.1, "source_logit": 2.0}))
    assert "A control fails: " in failed
    more = swap_words(run, wrong_source=wrong.model_copy(update={"own_smallest_k": None}))
    assert "raise that source's answer, ·Denver, more than ·Sacramento" in more


def test_other_results_keep_their_stored_sentence(run):
    for record in (swaps_record(run), steer_record(run)):
        assert intervention_words(record) == [record.verdict]


def test_side_effects_without_meaning_are_left_out_with_their_notes():
    known = Page(side_effects(measured())).text
    assert "known facts" in known and "perplexity 21 → 22.5" in known and "Not shown" not in known
    notes = ["the held-out text is more surprising to the model than random tokens: its perplexity says nothing",
             "the model predicts none of the 2 facts, so none can be lost", "another note"]  # fmt: skip
    unknown = measured().model_copy(update={"facts_before": 0, "facts_after": 0, "notes": notes})
    shown = Page(side_effects(unknown)).text
    assert "→" not in shown and "22.5" not in shown and "says nothing" not in shown and "another note" in shown
    assert "Not shown, since they say nothing of this model: known facts" in shown and "KL" in shown


@pytest.mark.parametrize("draws", [(1, 3), (2, 1), (2, 2)])
def test_a_text_of_several_sets_is_shown_once(draws, tmp_path):
    """First is the set with more draws of a null, then the larger one, also where its score is a little lower."""
    at, run_dir = NeuronPole(0, 0, "+"), tmp_path / "run"
    make_record_run(run_dir, chosen=[(0, neuron) for neuron in range(4)])
    for i, (name, n) in enumerate(zip(("few", "many"), draws, strict=True)):
        log = Log(name, minute=10 * i)
        own = log.explain("L0N0+", "capital cities")
        others = [log.explain(f"L0N{j}+", f"theme {j}") for j in range(1, 3 + i)]
        write_set(run_dir, log)
        lines = [line(at, own, {HEADLINE: value(0.6 - 1e-12 * i)})]
        lines += [line(at, other, {HEADLINE: 0.01 * j}, control="other", other=f"L0N{j}+")
                  for j, other in enumerate(others[:n], 1)]  # fmt: skip
        write_score_log(run_dir, about(name, "embedding"), lines)
    page = make_report(run_dir)
    card = page.text.split("What L0N0+ responds to, in words")[1].split("What L0N")[0]
    first, second = ("few", "many") if draws[0] > draws[1] else ("many", "few")
    assert card.count("capital cities") == 1
    assert card.index(f"set {first}") < card.index(f"its scores in the set {second}, which has the same text")
    assert f"set {second} ·" in card


def test_rules_scored_as_rules_are_named_as_the_baseline(tmp_path):
    said = "All scored explanations are look-up rules"
    run_dir = tmp_path / "rules"
    make_record_run(run_dir, chosen=[(layer, neuron) for layer in range(2) for neuron in range(4)])
    rules = lookup()
    write_set(run_dir, rules)
    lines = [line(NeuronPole(e.layer, e.neuron, e.pole), e.id, {HEADLINE: 0.9})
             for e in rules.entries if e.kind == "explanation"]  # fmt: skip
    write_score_log(run_dir, about("lookup", "rule"), lines)
    page = make_report(run_dir)
    assert said in page.text and "--scorers embedding" in page.text and "--llm PROVIDER:MODEL" in page.text
    assert said not in make_report(make_scored_run(tmp_path / "scored")).text


def test_cards_after_the_third_are_folded(tmp_path):
    page = make_report(make_scored_run(Path(tmp_path) / "scored"))
    cards = [name for name, a in page.tags if name == "article" and "id" in a]
    assert len(cards) > 3 and "<details><summary>4. <b>" in page.html and "<summary>3. <b>" not in page.html
    badges = [a for name, a in page.tags if name == "span" and str(a.get("class")).startswith("badge")]
    assert badges and "current in its set" not in page.text
