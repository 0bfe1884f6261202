"""Training examples: the prompts that were asked with the accepted explanations, and texts with activations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from misbehaving_server import MisbehavingServer, answer
from record_runs import change_array, make_record_run

from neuron_signatures.explain.finetune import export_finetune
from neuron_signatures.poc5_explain_neurons import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.simulators.json_prompt import simulation_answer, simulation_messages

NEURONS = ("L0N0+", "L0N1+", "L1N0+")


def explained(run_dir: Path, *flags: str, neurons=NEURONS, script=None) -> MisbehavingServer:
    """Explain some poles through the API of a server on loopback; returns the server, for its requests."""
    with MisbehavingServer(script) as server:
        common = ["--llm", "openai:gpt-test", "--base_url", server.base_url, "--no_cache", "--quiet", "--set", "s"]
        main(["--run_dir", str(run_dir), "--neurons", ",".join(neurons), *common, *flags])
    return server


def exported(run_dir: Path, task="explainer", set_name="s"):
    """The summary, and the examples."""
    file = run_dir.parent / f"{task}.jsonl"
    file.unlink(missing_ok=True)
    summary = export_finetune(run_dir, set_name, file, task)
    return summary, [json.loads(line)["messages"] for line in file.read_text().splitlines()]


@pytest.fixture
def run_dir(tmp_path):
    return make_record_run(tmp_path / "r", n_documents=40)


def sent(server: MisbehavingServer) -> list[list[dict]]:
    return [[{"role": m["role"], "content": m["content"]} for m in r.body["messages"]] for r in server.requests]


def test_the_prompts_are_those_that_were_sent_and_the_answers_those_that_came(run_dir):
    numbers = iter(range(100))
    server = explained(run_dir, "--explainer", "highlighted", script=lambda _: answer(f"phrase {next(numbers)}"))
    summary, examples = exported(run_dir)
    assert (summary.n_examples, summary.n_explanations, dict(summary.left_out)) == (3, 3, {})
    prompts = {json.dumps(e[:-1]) for e in examples}
    assert prompts == {json.dumps(p) for p in sent(server)} and len(prompts) == 3
    texts = {shown.text for shown in Explanations.open(run_dir).all()}
    assert {e[-1]["content"] for e in examples} == texts
    assert all(e[-1]["role"] == "assistant" and set(e[-1]) == {"role", "content"} for e in examples)
    assert summary.n_bytes == (run_dir.parent / "explainer.jsonl").stat().st_size
    assert "3 examples" in summary.lines()[0] and json.dumps(summary.fields())


def test_what_is_current_is_the_answer_to_the_first_prompt(run_dir):
    """The chosen one of several samples, a revision, and the text of a person."""
    numbers = iter(range(100))
    flags = ("--n_samples", "2", "--revise", "1", "--select_by", "rule", "--explainer", "token_activation_pairs")
    server = explained(run_dir, *flags, script=lambda _: answer(f"phrase {next(numbers)}"))
    people.edit(run_dir, NeuronPole(0, 1, "+"), "what a person wrote", "ann")
    _, examples = exported(run_dir)
    explanations = Explanations.open(run_dir)
    current = [s for s in explanations.all() if s.current]
    assert [e[-1]["content"] for e in examples] == [s.text for s in current] and len(current) == 3
    assert "what a person wrote" in {s.text for s in current}
    firsts = [p for p in sent(server) if len(p) == len(examples[0]) - 1]
    assert all(e[:-1] in firsts for e in examples)


def test_only_accepted_answers(run_dir):
    script = {"": answer("a phrase")}
    explained(run_dir, "--explainer", "highlighted", script=script)
    explained(run_dir, "--explainer", "highlighted", neurons=("L0N6+",), script=[answer("cut", finish="length")])
    people.vote(run_dir, NeuronPole(0, 0, "+"), -1, "ann")
    people.edit(run_dir, NeuronPole(0, 1, "+"), "\n".join(["- one", "- two", "- three"]), "ann")
    summary, examples = exported(run_dir)
    assert len(examples) == 1 and dict(summary.left_out) == {
        "more votes against it than for it": 1,
        "its text has not the form of an answer": 1,
        "status too_long": 1,
    }
    assert any("status too_long" in line for line in summary.lines())


def test_a_prompt_that_is_not_the_one_that_was_answered_is_left_out(run_dir):
    """The records changed since: the answer was to other texts."""
    explained(run_dir, "--explainer", "highlighted")
    change_array(run_dir, "rows.safetensors", "acts", lambda a: np.where(a > 0, a[a > 0].max() - a, a))
    with pytest.raises(UsageError, match="not the one that was answered"):
        exported(run_dir)
    assert not (run_dir.parent / "explainer.jsonl").exists()


def test_examples_for_a_simulator(run_dir):
    numbers = iter(range(100))
    explained(run_dir, "--explainer", "highlighted", script=lambda _: answer(f"phrase {next(numbers)}"))
    summary, examples = exported(run_dir, "simulator")
    assert summary.n_explanations == 3 and 3 < summary.n_examples == len(examples) <= 18
    with Records.open(run_dir) as records:
        for shown in Explanations.open(run_dir).all():
            windows = records.strongest(*shown.at, parts=("explain",))
            largest = max(w.acts[w.counted_from :].max() for w in windows)
            first = next(e for e in examples if json.loads(e[1]["content"])["explanation"] == shown.text)
            pairs = json.loads(first[2]["content"])
            tokens = [pair["token"] for pair in pairs]
            window = next(w for w in windows if list(w.tokens[w.counted_from :][: len(tokens)]) == tokens)
            expected = np.floor(10 * np.maximum(window.acts[window.counted_from :], 0) / largest)
            assert [pair["activation"] for pair in pairs] == expected[: len(tokens)].tolist()
    for system, question, reply in examples:
        assert [m["role"] for m in (system, question, reply)] == ["system", "user", "assistant"]
        pairs = json.loads(reply["content"])
        assert [p["token"] for p in pairs] == json.loads(question["content"])["tokens"]
        assert all(0 <= p["activation"] <= 10 for p in pairs)
    assert any(p["activation"] == 10 for e in examples for p in json.loads(e[2]["content"]))


def test_rules_have_no_prompt_but_can_be_simulated(run_dir):
    assert main(["--run_dir", str(run_dir), "--neurons", ",".join(NEURONS), "--quiet"]) == 0
    with pytest.raises(UsageError, match="no language model was asked"):
        exported(run_dir, set_name="lookup")
    assert exported(run_dir, "simulator", set_name="lookup")[0].n_explanations > 0


def test_what_cannot_be_exported(run_dir):
    explained(run_dir, "--explainer", "highlighted")
    exported(run_dir)
    with pytest.raises(UsageError, match="this file exists"):
        export_finetune(run_dir, "s", run_dir.parent / "explainer.jsonl", "explainer")
    explained(run_dir, "--explainer", "highlighted", "--set", "half", "--limit", "1")
    with pytest.raises(UsageError, match="not finished"):
        exported(run_dir, set_name="half")


def test_tokens_in_a_simulation_cannot_open_a_turn():
    hostile = ["<|im_end|>", "[INST]", '"', "\n", "\ud800", "é", "</s>"]
    question = simulation_messages("<|im_start|>", hostile)[1].content
    reply = simulation_answer(hostile, range(len(hostile)))
    assert "<" not in question and "[INST" not in question and "<" not in reply
    assert json.loads(question) == {"explanation": "<|im_start|>", "tokens": hostile}
    assert json.loads(reply) == [{"token": t, "activation": i} for i, t in enumerate(hostile)]


def test_the_command(run_dir, capsys):
    explained(run_dir, "--explainer", "highlighted")
    common = ["export", "--run_dir", str(run_dir), "--set", "s"]
    for task, n in (("explainer", 3), ("simulator", 18)):
        file = run_dir.parent / f"{task}.jsonl"
        capsys.readouterr()
        assert main([*common, "--finetune", str(file), "--task", task, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n_examples"] == len(file.read_text().splitlines()) == n
