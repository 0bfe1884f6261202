"""Scores on neurons whose meaning is known: do they fall with worse labels, and what is the best a rule can reach?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from bench_scorers import passages

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.measures.simulated import SimulatorScorer, without_model
from neuron_signatures.scoring.planted.labels import DETECTION, LabelTests, label_tests
from neuron_signatures.scoring.planted.neurons import PLANTED_KINDS, Planted, PlantedKind, PlantedRule, plant
from neuron_signatures.scoring.planted.passages import demo_passages
from neuron_signatures.scoring.planted.records import write_planted
from neuron_signatures.scoring.planted.texts import planted_texts
from neuron_signatures.scoring.scorer import Item
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.rule import RuleSimulator
from neuron_signatures.scoring.tools import Tools

DESIGN = Design(n_draws=0, min_positives=1)
RULES: tuple[PlantedKind, ...] = ("token", "class", "pair", "negation")
"""What a rule can say: n-grams, not positions."""


@pytest.fixture(scope="module")
def tests() -> dict[str, LabelTests]:
    neurons = [neuron for kind in PLANTED_KINDS for neuron in plant(passages(), kind, 2, seed=1)]
    return label_tests(passages(), neurons, DESIGN, seed=0)


@pytest.mark.parametrize("score", ["correlation/uniform", "auprc/uniform", "f1/uniform", "iou/uniform"])
def test_scores_on_the_uniform_sample_fall_with_missing_and_with_extra_labels(tests, score: str) -> None:
    found = tests[score]
    assert found.passes, found
    assert (found.missing.falls, found.extra.falls, found.missing.n) == (1, 1, 2 * len(PLANTED_KINDS))


def test_the_legacy_scores_do_not_see_that_as_many_labels_are_wrong(tests) -> None:
    for score in ("balanced_accuracy/uniform", "auroc/uniform"):
        assert tests[score].missing.passes, score
        assert not tests[score].extra.passes and tests[score].extra.fall < 0.05, score
    for score in ("ev_correlation/top_and_random", "rsquared/top_and_random", DETECTION):
        assert not tests[score].passes, score


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    few = demo_passages(60, seed=0)
    neuron = plant(passages(), "token", 1, seed=0)[0]
    path = tmp_path_factory.mktemp("planted") / "run"
    write_planted(path, few, [replace(neuron, acts=tuple(np.zeros(len(t), np.float32) for t in few.tokens))])
    with Run.open(path) as run, Records.open(run) as records:
        yield Tools(run, records, replace(DESIGN, min_positives=0))


def correlation(tools: Tools, texts: NeuronTexts, said: Said, control: str = "own") -> float:
    scorer = SimulatorScorer(without_model(RuleSimulator()), tools)
    found = asyncio.run(scorer.score(Item(NeuronPole(0, 0, "+"), "0" * 16, control, said), texts))
    value = found.measures["correlation/uniform"].value
    return -1.0 if value is None else value


def as_rule(rule: PlantedRule, means: list[float]) -> Rule:
    """A negation is its token, and the two tokens at which it is silent."""
    before = [[rule.before, rule.tokens[0]]] if rule.before is not None else []
    return Rule(
        ngrams=[[t] for t in rule.tokens] + before, acts=[*means, *(0.0 for _ in before)], threshold=1.0,
        precision=None, recall=None, n_active=0, n_named=0,
    )  # fmt: skip


def means_of(neuron: Planted, part: str) -> list[float]:
    """The mean activation at each token of the rule, on the passages of a part."""
    texts = neuron.texts(passages(), part)
    where = np.concatenate([neuron.rule.strength_index(t.tokens) for t in texts])
    acts = np.concatenate([t.acts for t in texts]).astype(np.float64)
    return [float(acts[where == i].mean()) if (where == i).any() else 0.0 for i in range(len(neuron.rule.tokens))]


@pytest.mark.parametrize("kind", RULES)
def test_the_true_rule_reaches_what_any_rule_of_its_tokens_can_and_false_ones_do_not(kind, tools: Tools) -> None:
    """The best values for the tokens of the rule are their mean activations on the scored windows themselves; the true
    rule has those of `explain`, and reaches the same score within .01. The noise of the neuron keeps both below the
    ceiling, which is the neuron itself."""
    neurons = plant(passages(), kind, 3, seed=0)
    rules = [Said("", as_rule(n.rule, means_of(n, "explain"))) for n in neurons]
    for i, neuron in enumerate(neurons):
        texts = planted_texts(passages(), neuron, DESIGN, number=i)
        own = correlation(tools, texts, rules[i])
        best = correlation(tools, texts, Said("", as_rule(neuron.rule, means_of(neuron, "report"))))
        ceiling = correlation(tools, texts, rules[i], "ceiling")
        assert best - 0.01 <= own <= best + 1e-9 < ceiling, (kind, i)
        false = [r for r, n in zip(rules, neurons, strict=True) if not set(n.rule.tokens) & set(neuron.rule.tokens)]
        for said in (*false, *map(Said, neuron.false)):
            assert correlation(tools, texts, said) < own, (kind, i, said)
        assert correlation(tools, texts, Said(neuron.rule.truth)) <= own + 1e-9, (kind, i)


@pytest.mark.parametrize("kind", RULES)
def test_without_noise_the_true_rule_has_the_best_score_there_is(kind: PlantedKind, tools: Tools) -> None:
    """Of a neuron that does exactly what its rule says. More than one position of a hundred can then be at its largest
    activation, so that none is above the 99th percentile: the correlation needs none."""
    for i, noisy in enumerate(plant(passages(), kind, 3, seed=2)):
        strength = [1 + 0.25 * k for k in range(len(noisy.rule.tokens))]
        values = np.array([*strength, 0], np.float32)
        acts = tuple(values[noisy.rule.strength_index(tokens)] for tokens in passages().tokens)
        texts = planted_texts(passages(), replace(noisy, acts=acts), DESIGN, number=i)
        said = Said("", as_rule(noisy.rule, strength))
        own = correlation(tools, texts, said)
        assert own == pytest.approx(1, abs=1e-9)
        assert own >= correlation(tools, texts, said, "ceiling") - 1e-9
        assert all(correlation(tools, texts, Said(text)) < own for text in noisy.false)
