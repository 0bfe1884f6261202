"""Stage 6 with the scorers that run the model, on look-up rules of the demo model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from misbehaving_server import MODEL, Act, Asked, MisbehavingServer, answer
from subject_runs import question

from neuron_signatures import poc5_explain_neurons, poc6_score_explanations
from neuron_signatures.runs.scores.names import SCORES, Scorer


def about_from(asked: Asked) -> Act:
    """Writes of the token ` from` for its rule and of nothing for others, rates by it, and picks the first of three."""
    found = question(asked)
    if "descriptions" in found:
        return answer("1")
    if "texts" in found:
        return answer(json.dumps([2 * (" from" in text) for text in found["texts"]]))
    word, n = "from" if "from" in str(found["explanation"]) else "to", asked.body["seed"]
    active = [f"The traveller number {n} {i} comes {word} Ohio." for i in range(5)]
    return answer(json.dumps({"active": active, "inactive": [f"A plain text {n} {i}." for i in range(5)]}))


@pytest.mark.slow
def test_the_stage_scores_with_the_model(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(run_dir, tmp_path / "run")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    scorers: tuple[Scorer, ...] = ("generation", "intervention", "fade")
    neurons = ["--neurons", "L0N399,L0N86,L0N270,L0N511"]
    assert poc5_explain_neurons.main(["--run_dir", str(folder), "--explainer", "lookup", *neurons, "--quiet"]) == 0
    flags = [
        "--run_dir", str(folder), "--neurons", "L0N399+,L0N86+", "--scorers", ",".join(scorers), "--llm",
        f"openai:{MODEL}", "--no_cache", "--n_null", "1", "--controls", "own,other", "--n_draws", "100",
        "--min_positives", "3", "--device", "cpu", "--quiet",
    ]  # fmt: skip
    with MisbehavingServer(about_from) as server:
        assert poc6_score_explanations.main([*flags, "--base_url", server.base_url]) == 0
    lines = {s: _lines(folder / SCORES, s) for s in scorers}
    of_from = {s: next(x for x in some if x["neuron"] == 399 and x["control"] == "own") for s, some in lines.items()}
    assert of_from["generation"]["scores"]["auroc/generation"]["value"] == 1.0
    assert of_from["intervention"]["scores"]["choice/steered"]["value"] == pytest.approx(1 / 3)
    assert of_from["fade"]["scores"]["clarity/fade"]["value"] > 0.9
    assert {x["control"] for some in lines.values() for x in some} == {"own", "other"}
    assert all(x["status"] == "ok" for some in lines.values() for x in some)


def _lines(folder: Path, scorer: Scorer) -> list[dict]:
    (log,) = [p for p in folder.glob("*.jsonl") if f"__{scorer}" in p.name]
    return [json.loads(line) for line in log.read_text().splitlines()]
