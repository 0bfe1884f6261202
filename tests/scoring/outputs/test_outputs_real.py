"""The scorers that run the model, with SmolLM2 as the model of the run: with a scripted writer and judge, and with
SmolLM2 itself, of which no usable answer is expected (docs/scores.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from misbehaving_server import MODEL, Act, Asked, MisbehavingServer, answer
from subject_runs import question

from neuron_signatures import poc4_extract_records, poc5_explain_neurons, poc6_score_explanations
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.runs.scores.names import Scorer
from neuron_signatures.runs.scores.reader import Scores

pytestmark = [pytest.mark.real, pytest.mark.slow]

SAID = {990: "the word time", 62: "the word modules", 425: "the word class"}
"""Neurons of layer 2. The first one is active on ` time`."""
SCORERS: tuple[Scorer, ...] = ("intervention", "fade")
MODEL_FLAGS = ["--model_name", "smollm2", "--model_dtype", "fp32", "--device", "cpu"]
NAMES, PLACES = ["Ann", "Tom", "Eve", "Max", "Joe"], ["house", "river", "market", "school", "bridge", "tower"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records on short texts, a sixth of which have the word time, and descriptions of three neurons."""
    folder = tmp_path_factory.mktemp("real")
    starts = [f"{name} was at the {place}" for name in NAMES for place in PLACES]
    ends = [
        "and had to wait.",
        "but nobody saw the dog.",
        "with a friend.",
        "in the rain.",
        "for a walk.",
        "some time ago.",
    ]
    texts = [f"{start} {end}" for start in starts for end in ends]
    corpus = folder / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run = folder / "run"
    neurons = ",".join(f"L2N{neuron}" for neuron in SAID)
    flags = ["--corpus", str(corpus), "--sequence_length", "32", "--layer_index", "2", "--neurons", neurons, "--quiet"]
    assert poc4_extract_records.main(["--out_dir", str(run), *MODEL_FLAGS, *flags]) == 0
    for neuron, text in SAID.items():
        flags = ["--run_dir", str(run), "--neuron", f"L2N{neuron}+", "--text", text, "--author", "Ada"]
        assert poc5_explain_neurons.main(["edit", *flags]) == 0
    return run


def by_word(asked: Asked) -> Act:
    """Writes sentences with and without the word time, rates texts by it, and picks the first of three descriptions."""
    found = question(asked)
    if "descriptions" in found:
        return answer("1")
    if "texts" in found:
        return answer(json.dumps([2 * (" time" in text) for text in found["texts"]]))
    n = asked.body["seed"]
    active = [f"The train number {n} {i} was late for the third time." for i in range(5)]
    return answer(json.dumps({"active": active, "inactive": [f"The train number {n} {i} was late." for i in range(5)]}))


def score(run: Path, llm: str, *flags: str) -> int:
    common = ["--sets", "human", "--neurons", "L2N990+", "--scorers", ",".join(SCORERS), "--controls", "own"]
    common += ["--n_draws", "100", "--min_positives", "3", "--device", "cpu", "--no_cache", "--quiet"]
    return poc6_score_explanations.main(["--run_dir", str(run), "--llm", llm, *common, *flags])


def test_with_a_scripted_writer_and_judge(run_dir, tmp_path, monkeypatch):
    run = shutil.copytree(run_dir, tmp_path / "run")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with MisbehavingServer(by_word) as server:
        assert score(run, f"openai:{MODEL}", "--base_url", server.base_url) == 0
    choice, fade = (scored(run, scorer) for scorer in SCORERS)
    assert set(choice.requests) | set(fade.requests) == {"ok"} and len(choice.requests) == 18
    assert [one.value for one in choice.scores.values()] == [pytest.approx(1 / 3)] * 3
    assert all(e["rose"] and e["fell"] for e in choice.examples)
    assert min(fade.scores[f"{name}/fade"].value for name in ("responsiveness", "purity")) > 0.9
    assert fade.scores["clarity/fade"].value > 0.5  # a sixth of the natural windows have the word too
    assert fade.scores["faithfulness/fade"].n == 10
    assert len({e["text"] for e in fade.examples if "dose" in e and "text" in e}) > 20


def scored(run: Path, scorer: Scorer) -> ScoreLine:
    """The line of the own explanation."""
    (found,) = [s.name for s in Scores.open(run).sets if s.scorer == scorer]
    (explanation,) = [s.id for s in Explanations.open(run).of(2, 990)]
    line = Scores.open(run).own_line(found, explanation)
    assert line is not None
    return line


def test_with_the_model_as_its_own_writer_and_judge(run_dir, tmp_path):
    """Every request has a status, failures are told by the exit code, and only valid answers are counted."""
    run = shutil.copytree(run_dir, tmp_path / "run")
    code = score(run, "local:smollm2", "--batch_size", "8")
    choice, fade = (scored(run, scorer) for scorer in SCORERS)
    requests = choice.requests + fade.requests
    assert len(choice.requests) == 18 and 2 < len(fade.requests) <= 18
    assert set(requests) <= {"ok", "unparsable", "too_long", "refused"}
    assert code == int(requests.count("ok") < len(requests))
    for line in (choice, fade):
        assert line.status == ("ok" if "ok" in line.requests else line.requests[0])
        assert line.answered_by.startswith("smollm2@")
    if choice.status == "ok":
        assert sum(one.n for one in choice.scores.values()) == choice.requests.count("ok")
        picked = [e["right"] for e in choice.examples]
        assert picked.count(None) == 18 - choice.requests.count("ok")
    if fade.requests[:2].count("ok") == 0 and fade.status == "ok":
        assert fade.scores["clarity/fade"].undefined == "too_few_examples"
