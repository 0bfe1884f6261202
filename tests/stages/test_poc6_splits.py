"""Texts of the part `report` are in no prompt of an explainer and decide no choice: they hold a marker that is nowhere.

The marker has by far the largest activation of every neuron, so that whatever looks at `report` shows or prefers it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import record_runs
from explain_stage import CHOSEN, ask, entries, explain
from misbehaving_server import MODEL, Asked, MisbehavingServer, answer
from record_runs import make_record_run
from score_stage import judge, lines, score, verdicts

from neuron_signatures.explain import work as explain_work
from neuron_signatures.runs.explanations.names import EXPLAINERS
from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.sampling import neuron_texts
from neuron_signatures.scoring.texts import Text

MARKER = "zqxmarker"
REPORT = 2
REPLACED = 12
"""Tokens of the vocabulary, the most common ones, that are the marker in documents of `report`."""
ASKING = [name for name in EXPLAINERS if name not in ("lookup", "output")]


@pytest.fixture(scope="module")
def poisoned_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        synthetic = record_runs.synthetic

        def poisoned(*args: Any, **kwargs: Any) -> record_runs.Synthetic:
            made = synthetic(*args, **kwargs)
            marker = len(record_runs.TOKENS)
            patch.setattr(record_runs, "TOKENS", [*record_runs.TOKENS, f" {MARKER}"])
            texts = [_marked(t, marker) if p == REPORT else t for t, p in zip(made.texts, made.parts, strict=True)]
            windows = {layer: [_poisoned(w, marker) for w in some] for layer, some in made.windows.items()}
            return replace(made, texts=texts, windows=windows)

        patch.setattr(record_runs, "synthetic", poisoned)
        path = tmp_path_factory.mktemp("poisoned") / "run"
        return make_record_run(path, chosen=CHOSEN, n_documents=100, n_sample=300)


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of MiniLM: vectors that depend on the text alone."""

    class Hashed:
        def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
            assert not any(MARKER in text for text in texts)
            made = [np.random.default_rng(len(t) + sum(map(ord, t))).normal(size=16) for t in texts]
            return np.array([v / np.linalg.norm(v) for v in made] or np.empty((0, 16)), np.float32)

    monkeypatch.setattr("neuron_signatures.models.embedding.load_embedder", lambda *_, **__: Hashed())


def _marked(ids: np.ndarray, marker: int) -> np.ndarray:
    return np.where(ids < REPLACED, marker, ids)


def _poisoned(window: Any, marker: int) -> Any:
    if window.part != REPORT:
        return window
    ids = _marked(np.array(window.token_ids), marker)
    acts = window.acts.copy()
    acts[ids == marker, 0::2], acts[ids == marker, 1::2] = 50, -50
    return replace(window, token_ids=tuple(ids.tolist()), acts=acts.astype(np.float32))


def holds_marker(texts: Sequence[Text]) -> bool:
    return any(MARKER in token for text in texts for token in text.tokens)


def test_the_marker_is_what_a_look_at_report_would_find(poisoned_run: Path) -> None:
    with Records.open(poisoned_run) as records:
        for layer, neuron in CHOSEN:
            pole = "-" if neuron % 2 else "+"
            (best,) = records.strongest(layer, neuron, pole, parts=("report",), k=1)
            assert MARKER in best.tokens[best.pos or 0]
            texts = neuron_texts(records, NeuronPole(layer, neuron, pole), Design(split="report"))
            assert holds_marker(texts.scored["top"]) and not holds_marker(texts.fitted["top"])


@pytest.mark.usefixtures("embedder")
@pytest.mark.parametrize("explainer", ASKING)
def test_no_prompt_of_an_explainer_and_no_choice_holds_it(
    poisoned_run: Path, explainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Text] = []
    for name in ("choose_best", "find_mistakes"):
        monkeypatch.setattr(explain_work, name, _watched(getattr(explain_work, name), seen))
    said = {0: "Austin, Denver and Boston", 1: "def, return and class"}

    def script(asked: Asked) -> Any:
        return answer(said[asked.body["seed"] % 2])

    flags = ["--explainer", explainer, "--n_samples", "2", "--revise", "1", "--modes", "2", "--select_by", "rule",
             "--set", f"{explainer}-{MODEL}"]  # fmt: skip
    flags += ["--near_by_embedding"] if explainer == "contrastive" else []
    with MisbehavingServer(script) as server:
        assert ask(poisoned_run, server.base_url, *flags) == 0
        prompts = [r.prompt for r in server.requests]
    assert explainer == "both" or len(prompts) > 20  # `both` needs write scores, which need a model
    assert not [p for p in prompts if MARKER in p]
    assert explainer == "both" or seen
    with Records.open(poisoned_run) as records:
        assert {records.corpus.part_of(text.window) for text in seen} <= {"select"}
    assert not holds_marker(seen)


def test_no_look_up_rule_holds_it(poisoned_run: Path) -> None:
    assert explain(poisoned_run, "--set", "rules") == 0
    found = entries(poisoned_run, "rules")
    assert found and not [e for e in found if MARKER in e.model_dump_json()]


@pytest.mark.parametrize(("split", "fitted"), [("report", "select"), ("select", "explain")])
def test_what_is_fitted_is_never_what_is_scored(poisoned_run: Path, split: Any, fitted: Part) -> None:
    with Records.open(poisoned_run) as records:
        for layer, neuron in CHOSEN:
            found = neuron_texts(records, NeuronPole(layer, neuron, "+"), Design(split=split))
            for texts, part in ((found.scored, split), (found.fitted, fitted)):
                windows = {text.window for some in texts.values() for text in some}
                assert {records.corpus.part_of(w) for w in windows} == {part}
            assert found.threshold < 50 and found.largest < 50


def test_scores_for_choosing_see_none_of_it(poisoned_run: Path) -> None:
    assert explain(poisoned_run, "--set", "rules") == 0
    with MisbehavingServer(verdicts) as server:
        assert judge(poisoned_run, server.base_url, "--sets", "rules", "--part", "select", "--n_null", "1") == 0
        assert server.requests and not [r for r in server.requests if MARKER in r.prompt]
        n = len(server.requests)
        assert judge(poisoned_run, server.base_url, "--sets", "rules", "--n_null", "1") == 0
        assert [r for r in server.requests[n:] if MARKER in r.prompt]
    assert score(poisoned_run, "--sets", "rules", "--part", "select") == 0
    with Records.open(poisoned_run) as records:
        for line in lines(poisoned_run, "rules__rule-select").values():
            assert {records.corpus.part_of(w.window) for w in line.windows} <= {"select"}
            assert {records.corpus.part_of(m.window) for m in line.mistakes} <= {"select"}


def _watched(function: Callable[..., Any], seen: list[Text]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.extend(text for arg in args if isinstance(arg, list) for text in arg if isinstance(text, Text))
        return function(*args, **kwargs)

    return watched
