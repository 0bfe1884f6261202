"""`SimulatorScorer`: an explanation and a neuron's windows in, scores out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from record_runs import make_record_run
from scipy import stats
from scored_texts import rule_for

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.lookup.rule import rule_of
from neuron_signatures.scoring.measures.names import SIXTY, STANDARD, WINDOWS
from neuron_signatures.scoring.measures.simulated import SimulatorScorer, without_model
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.scorer import Item, ItemScorer, Scored
from neuron_signatures.scoring.scores import correlation_uniform
from neuron_signatures.scoring.simulators.base import Said, Simulated, Usage
from neuron_signatures.scoring.simulators.rule import RuleSimulator
from neuron_signatures.scoring.texts import Text
from neuron_signatures.scoring.tools import Tools

AT, DEAD = NeuronPole(0, 1, "+"), NeuronPole(0, 4, "+")
SAID = Said("the cities Austin and Denver")
DESIGN = Design(n_draws=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = make_record_run(tmp_path_factory.mktemp("scorer") / "run", n_documents=132, n_sample=300)
    with Run.open(path) as found:
        yield found


@pytest.fixture(scope="module")
def records(run: Run) -> Iterator[Records]:
    with Records.open(run) as found:
        yield found


def tools(run: Run, records: Records, design: Design = DESIGN) -> Tools:
    return Tools(run, records, design)


def rule_scorer(run: Run, records: Records, design: Design = DESIGN) -> SimulatorScorer:
    return SimulatorScorer(without_model(RuleSimulator()), tools(run, records, design))


def item(control: str = "own", said: Said = SAID, at: NeuronPole = AT, again: frozenset[int] = frozenset()) -> Item:
    return Item(at, "0" * 16, control, said, again)


def score(scorer: ItemScorer, of: Item, texts: NeuronTexts) -> Scored:
    return asyncio.run(scorer.score(of, texts))


class Asking:
    """A simulator of a language model: predicts 1 at ` Austin`, and fails in the windows whose numbers it is given."""

    name, lowest, highest, levels, prompt_version = "logits", 0.0, 4.0, 4, "asking-1"

    def __init__(self, fails: Sequence[int] = (), wrong: Sequence[int] = ()) -> None:
        self.fails, self.wrong = set(fails), set(wrong)
        self.asked: list[tuple[Text, ...]] = []
        self.again: list[frozenset[int]] = []

    async def simulate_windows(
        self, said: Said, texts: Sequence[Text], *, again: frozenset[int]
    ) -> tuple[list[Simulated], Usage] | None:
        self.asked.append(tuple(texts))
        self.again.append(again)
        if not said.text:
            return None
        return [self._one(t) for t in texts], Usage(100, 10, 0.5, "model-1")

    def _one(self, text: Text) -> Simulated:
        if text.window in self.fails:
            return Simulated(None, "refused", "does not want to")
        values = np.array([t == " Austin" for t in text.tokens], np.float32)
        return Simulated(values + 5 if text.window in self.wrong else values)

    def requests_for(self, said: Said, texts: Sequence[Text]) -> Sequence[object]:
        return [f"{said.text}: {text.window}" for text in texts]


def test_it_is_a_scorer_and_gives_every_score_of_its_sampling(run: Run, records: Records) -> None:
    scorer = rule_scorer(run, records)
    assert isinstance(scorer, ItemScorer)
    found = score(scorer, item(), neuron_texts(records, AT, DESIGN))
    assert set(found.measures) == set(STANDARD)
    assert all(m.value is not None and m.low is not None and m.high is not None for m in found.measures.values())
    assert all(m.low <= m.high for m in found.measures.values())  # type: ignore[operator]
    assert (list(found.statuses), found.cost, found.status) == ([], 0, "ok")
    sixty = Design(sampling="sixty", min_positives=1, n_draws=100)
    found = score(rule_scorer(run, records, sixty), item(), neuron_texts(records, AT, sixty))
    assert set(found.measures) == set(SIXTY)
    assert {w.group for w in found.windows} == {"sixty"}
    assert any(w.text.first and w.values is not None and len(w.values) == 1 for w in found.windows)


def test_the_correlation_is_the_one_by_which_explanations_are_chosen(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    found = score(rule_scorer(run, records), item(), texts).measures["correlation/uniform"]
    expected = correlation_uniform(RuleSimulator(), SAID, texts.scored["uniform"])
    assert (found.value, found.n) == (pytest.approx(expected.value, abs=1e-12), expected.n_positions)


def test_top_and_random_are_scored_together_each_window_once(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    found = score(rule_scorer(run, records), item(), texts).measures["ev_correlation/top_and_random"]
    windows = [*texts.scored["top"], *texts.scored["random"]]
    said = RuleSimulator().simulate(SAID, windows) or []
    truth, predicted = (
        np.concatenate([a[t.counts] for a, t in zip(arrays, windows, strict=True)]).astype(np.float64)
        for arrays in ([t.acts for t in windows], said)
    )
    assert found.value == pytest.approx(stats.pearsonr(truth, predicted).statistic, abs=1e-9)


def test_controls_have_no_intervals_no_windows_and_no_mistakes(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    for control in ("other", "shuffled", "empty", "text", "constant", "ceiling", "lookup"):
        found = score(rule_scorer(run, records), item(control), texts)
        assert {(m.low, m.high) for m in found.measures.values()} == {(None, None)}
        assert (list(found.windows), found.mistakes) == ([], None)


def test_an_explanation_that_says_nothing_is_not_simulated(run: Run, records: Records) -> None:
    found = score(rule_scorer(run, records), item("empty", Said("")), neuron_texts(records, AT, DESIGN))
    assert {(m.value, m.undefined) for m in found.measures.values()} == {(None, "not_simulated")}
    assert set(found.measures) == set(STANDARD)


def test_a_constant_predicts_as_well_as_chance(run: Run, records: Records) -> None:
    found = score(rule_scorer(run, records), item("constant"), neuron_texts(records, AT, DESIGN)).measures
    assert found["correlation/uniform"].undefined == "constant_prediction"
    share = (found["auprc/uniform"].n_positive or 0) / found["auprc/uniform"].n
    assert found["auprc/uniform"].value == pytest.approx(share)
    assert (found["auroc/uniform"].value, found["balanced_accuracy/uniform"].value) == (0.5, 0.5)


def test_the_ceiling_is_the_neuron_with_the_steps_of_the_simulator(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    truth = np.concatenate([t.acts[t.counts] for t in texts.scored["uniform"]])
    for simulator, levels in ((without_model(RuleSimulator()), 10), (Asking(), 4)):
        found = score(SimulatorScorer(simulator, tools(run, records)), item("ceiling"), texts)
        steps = np.rint(np.clip(truth / texts.largest * levels, 0, levels))
        assert found.measures["correlation/uniform"].value == pytest.approx(stats.pearsonr(truth, steps).statistic)
        assert list(found.statuses) == []
    own = score(rule_scorer(run, records), item(), texts).measures
    ceiling = score(rule_scorer(run, records), item("ceiling"), texts).measures
    assert all(ceiling[name].value > own[name].value for name in STANDARD)  # type: ignore[operator]


def test_the_baseline_is_the_look_up_rule_of_the_neuron(run: Run, records: Records) -> None:
    texts, rule = neuron_texts(records, AT, DESIGN), rule_of(records, AT)
    assert rule is not None
    asking = Asking()
    found = score(SimulatorScorer(asking, tools(run, records)), item("lookup"), texts)
    own = score(rule_scorer(run, records), item("own", Said("", rule)), texts)
    assert {n: m.value for n, m in found.measures.items()} == {n: m.value for n, m in own.measures.items()}
    assert asking.asked == []
    dead = score(rule_scorer(run, records), item("lookup", at=DEAD), neuron_texts(records, DEAD, DESIGN))
    assert {m.undefined for m in dead.measures.values()} == {"not_simulated"}


def test_a_dead_neuron_has_too_few_examples(run: Run, records: Records) -> None:
    found = score(rule_scorer(run, records), item(at=DEAD), neuron_texts(records, DEAD, DESIGN))
    assert {(m.value, m.undefined, m.n_positive) for m in found.measures.values()} == {(None, "too_few_examples", 0)}


def test_each_window_is_one_request_whatever_its_groups_and_usage_is_kept(run: Run, records: Records) -> None:
    texts, asking = neuron_texts(records, AT, DESIGN), Asking()
    scorer = SimulatorScorer(asking, tools(run, records))
    found = score(scorer, item(again=frozenset({3})), texts)
    windows = [t.window for t in asking.asked[0]]
    every = {t.window for part in (texts.scored, texts.fitted) for g in part.values() for t in g}
    assert len(windows) == len(set(windows)) and set(windows) == every
    assert windows[:5] == [t.window for t in texts.scored["top"]]
    assert asking.again == [frozenset({3})]
    assert list(found.statuses) == ["ok"] * len(windows)
    usage = found.prompt_tokens, found.completion_tokens, found.cost, found.answered_by
    assert usage == (100, 10, 0.5, "model-1")
    assert len(scorer.requests_of(item(), texts)) == len(windows)
    assert list(scorer.requests_of(item("ceiling"), texts)) == []
    assert list(rule_scorer(run, records).requests_of(item(), texts)) == []


def test_a_failed_window_is_left_out_and_never_zeros(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    failed, wrong, top = texts.scored["uniform"][0], texts.scored["uniform"][1], texts.scored["top"][0]
    asking = Asking(fails=[failed.window, top.window], wrong=[wrong.window])
    found = score(SimulatorScorer(asking, tools(run, records)), item(), texts)
    left = [t for t in texts.scored["uniform"] if t.window not in {failed.window, wrong.window, top.window}]
    assert found.measures["correlation/uniform"].n == sum(int(t.counts.sum()) for t in left)
    assert (found.statuses.count("refused"), found.statuses.count("unparsable")) == (2, 1)
    assert (found.reason, found.status) == ("does not want to", "ok")
    stored = next(w for w in found.windows if w.text.window == top.window)
    assert (stored.values, stored.status, stored.reason) == (None, "refused", "does not want to")


def test_if_every_window_fails_there_is_no_number_and_the_status_says_so(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    every = [t.window for part in (texts.scored, texts.fitted) for g in part.values() for t in g]
    found = score(SimulatorScorer(Asking(fails=every), tools(run, records)), item(), texts)
    assert {(m.value, m.undefined) for m in found.measures.values()} == {(None, "no_windows")}
    assert found.status == "refused"


def test_stored_windows_are_the_strongest_the_random_and_those_with_mistakes(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    assert len(texts.scored["uniform"]) > 50
    found = score(rule_scorer(run, records), item(), texts)
    by_group = {g: [w.text.window for w in found.windows if w.group == g] for g in ("top", "random", "mistake")}
    assert by_group["top"] == [t.window for t in texts.scored["top"]]
    assert by_group["random"] == [t.window for t in texts.scored["random"]]
    assert found.mistakes is not None
    wrong = {m.text.window for m in (*found.mistakes.false_positives, *found.mistakes.false_negatives)}
    stored = [w.text.window for w in found.windows]
    assert len(stored) == len(set(stored)) and wrong <= set(stored)
    assert set(by_group["mistake"]) == wrong - set(by_group["top"]) - set(by_group["random"])
    assert {m.text.tokens[m.pos] for m in found.mistakes.false_negatives} == {" Boston"}
    few = Design(n_uniform=40, n_draws=100)
    stored_all = score(rule_scorer(run, records, few), item(), neuron_texts(records, AT, few)).windows
    assert {w.text.window for w in stored_all} >= {
        t.window for t in neuron_texts(records, AT, few).scored["uniform"]
    }  # fmt: skip


def test_results_depend_on_the_item_alone_and_intervals_on_the_seed(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    scorer = rule_scorer(run, records)
    one = score(scorer, item(), texts).measures
    score(scorer, item("other", Said("Boston")), texts)
    assert score(rule_scorer(run, records), item(), neuron_texts(records, AT, DESIGN)).measures == one
    other = score(rule_scorer(run, records, Design(n_draws=200, seed=1)), item(), texts).measures
    assert other["correlation/uniform"].value == one["correlation/uniform"].value
    assert other["correlation/uniform"].low != one["correlation/uniform"].low


class Whole(RuleSimulator):
    """Says of a window whether a rule names anything in it."""

    name = "embedding"
    lowest, highest = 0.0, 1.0

    def of_windows(self, said: Said, texts: Sequence[Text]) -> np.ndarray | None:
        values = self.simulate(said, texts)
        return None if values is None else np.array([v.max() for v in values], np.float32)


def test_a_simulator_of_whole_windows_has_their_scores_too(run: Run, records: Records) -> None:
    texts = neuron_texts(records, AT, DESIGN)
    scorer = SimulatorScorer(without_model(Whole()), tools(run, records))
    own = score(scorer, item("own", Said("", rule_for([" Austin"], [" Denver"]))), texts).measures
    assert set(own) == {*STANDARD, *WINDOWS}
    active = [t.peak > max(texts.threshold, 0) for t in texts.scored["uniform"]]
    assert (own["auroc/windows"].n, own["auroc/windows"].n_positive) == (len(active), sum(active))
    assert own["auroc/windows"].low is not None
    for control, least in (("ceiling", 0.9), ("lookup", 0.6)):
        found = score(scorer, item(control), texts).measures["auroc/windows"]
        assert found.value is not None and found.value >= least
    assert score(scorer, item("constant"), texts).measures["auroc/windows"].value == 0.5
    nothing = score(scorer, item("empty", Said("")), texts).measures
    assert {m.undefined for m in nothing.values()} == {"not_simulated"} and set(nothing) == {*STANDARD, *WINDOWS}


def test_settings_name_the_simulator_its_scale_and_its_prompt(run: Run, records: Records) -> None:
    assert SimulatorScorer(Asking(), tools(run, records)).settings() == {
        "simulator": "logits", "levels": 4, "prompt_version": "asking-1"
    }  # fmt: skip
