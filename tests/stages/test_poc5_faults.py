"""Stage 5 that is killed, stopped or disturbed loses no answer, pays for none twice, and ends in the same set."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from explain_stage import ask, entries, explain, explain_and_die, explanations, rules_and_die
from forked import Child, run
from llm_sessions import ledger_of, responses
from misbehaving_server import (
    MODEL,
    Act,
    Asked,
    MisbehavingServer,
    answer,
    bad_gateway,
    cut,
    error_with_200,
    half_json,
    huge,
    no_choices,
    rate_limited,
    server_error,
    web_page,
)

from neuron_signatures.llm.wire.retries import RetryPolicy
from neuron_signatures.runs import __main__ as runs_program
from neuron_signatures.runs.lock import run_lock

SET = f"highlighted__{MODEL}"


def echo(asked: Asked) -> Act:
    return answer(f"theme {asked.body['seed']}")


def texts(run_dir: Path, set_name: str) -> dict[tuple, str]:
    found = explanations(run_dir, set_name)
    keys = Counter((e.layer, e.neuron, e.pole, e.sample) for e in found)
    assert set(keys.values()) == {1}
    return {(e.layer, e.neuron, e.pole, e.sample): e.text for e in found}


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_killed_stage_pays_for_nothing_twice(run_dir: Path, after: int) -> None:
    with MisbehavingServer(echo) as server:
        killed = run(explain_and_die, str(run_dir), server.base_url, after)
        assert killed.returncode == -signal.SIGKILL
        assert len(explanations(run_dir, SET)) == after < len(server.requests)
        assert ask(run_dir, server.base_url) == 0
        asked = Counter(r.prompt + str(r.body["seed"]) for r in server.requests if r.body)  # not cut by the kill
        # a request that was under way at the kill has no answer in the journal; at most one per slot is sent again
        assert sum(n - 1 for n in asked.values()) <= 8
        assert len(responses(run_dir)) == len(explanations(run_dir, SET)) == len(asked)
        n_unanswered = ledger_of(run_dir).account("explain").requests - len(asked)
        assert sum(n - 1 for n in asked.values()) <= n_unanswered <= 8
        whole = texts(run_dir, SET)
        assert ask(run_dir, server.base_url, "--set", "once") == 0
    assert whole == texts(run_dir, "once")
    assert runs_program.main(["verify", str(run_dir)]) == 0


def test_killed_rules_continue(run_dir: Path) -> None:
    assert run(rules_and_die, str(run_dir), 3).returncode == -signal.SIGKILL
    with (run_dir / "explanations/lookup.jsonl").open("ab") as f:
        f.write(b'{"id": "torn')
    assert explain(run_dir) == 0
    assert explain(run_dir, "--set", "once") == 0
    assert texts(run_dir, "lookup") == texts(run_dir, "once")


def test_a_signal_lets_paid_answers_arrive_and_exits_75(run_dir: Path) -> None:
    with MisbehavingServer(lambda asked: answer("theme", ) if len(server.requests) < 3 else Act(
        answer("late theme").body, delay=0.5, headers={"Content-Type": "application/json"})) as server:  # fmt: skip
        child = Child(_ask, str(run_dir), server.base_url)
        while len(server.requests) < 5:
            child.process.join(0.01)
            assert child.process.is_alive(), child.stderr
        os.kill(child.pid, signal.SIGTERM)
        stopped = child.wait()
        assert stopped.returncode == 75 and "run the same command" in stopped.stderr
        n = len(server.requests)
        assert len(explanations(run_dir, SET)) == n < 16
        assert ask(run_dir, server.base_url) == 0
        assert len(server.requests) == 16


def _ask(run_dir: str, base_url: str) -> int:
    return ask(Path(run_dir), base_url, "--concurrency", "2")


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (server_error(), "api_error"),
        (bad_gateway(), "api_error"),
        (web_page(), "api_error"),
        (error_with_200(), "api_error"),
        (no_choices(), "api_error"),
        (answer(None), "unparsable"),
        (half_json(), "api_error"),
        (cut(), "api_error"),
        (huge(), "api_error"),
        (answer("too long a th", finish="length"), "too_long"),
        (answer("", finish="content_filter"), "filtered"),
        (answer(None, refusal="I can't help with that."), "refused"),
        (answer("I'm sorry, but I can't assist with that."), "refused"),
        (answer("x " * 5000), "unparsable"),
    ],
)
def test_a_bad_answer_marks_its_item_and_others_go_on(
    run_dir: Path, act: Act, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    first: list[str] = []

    def script(asked: Asked) -> Act:
        first.append(asked.prompt)
        return act if asked.prompt == first[0] else answer("theme")

    with MisbehavingServer(script) as server:
        assert ask(run_dir, server.base_url, "--neurons", "L0N0,L0N1,L0N3", "--poles", "+", "--concurrency", "1") == 1
        assert len(server.requests) <= 6
    found = Counter(e.status for e in explanations(run_dir, SET))
    assert found == {status: 1, "ok": 2}
    bad = next(e for e in explanations(run_dir, SET) if e.status == status)
    assert bad.text == "" and bad.reason


def test_a_short_retry_after_is_waited_for(run_dir: Path) -> None:
    with MisbehavingServer([rate_limited(1)]) as server:
        assert ask(run_dir, server.base_url, "--neurons", "L0N0", "--poles", "+") == 0
        assert len(server.requests) == 2


def test_another_writer_is_named_and_nothing_is_asked(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MisbehavingServer(echo) as server, run_lock(run_dir):
        assert ask(run_dir, server.base_url) == 4
        assert not server.requests
    assert "another process is writing" in capsys.readouterr().err


class TestShards:
    @pytest.mark.parametrize("order", [(2, 1, 3), (3, 2, 1)])
    def test_shards_and_a_merge_give_the_set_of_one_process(self, run_dir: Path, order: tuple[int, ...]) -> None:
        assert explain(run_dir, "--set", "whole") == 0
        for number in order:
            assert explain(run_dir, "--shard", f"{number}/3") == 0
        assert explain(run_dir, "--merge") == 0
        assert [(e.layer, e.neuron, e.pole, e.text) for e in entries(run_dir, "lookup")] == [
            (e.layer, e.neuron, e.pole, e.text) for e in entries(run_dir, "whole")
        ]
        assert not list((run_dir / "explanations").glob("lookup-*"))
        assert explain(run_dir, "--merge") == 0
        assert runs_program.main(["verify", str(run_dir)]) == 0

    def test_a_model_is_asked_by_each_shard_for_its_own(self, run_dir: Path) -> None:
        with MisbehavingServer(echo) as server:
            for number in (1, 2):
                assert ask(run_dir, server.base_url, "--shard", f"{number}/2") == 0
            assert ask(run_dir, server.base_url, "--merge") == 0
            n = len(server.requests)
            assert ask(run_dir, server.base_url, "--set", "once") == 0
            assert n == len(server.requests) - n == 16
        assert texts(run_dir, SET) == texts(run_dir, "once")

    def test_missing_unfinished_and_other_shards_are_named(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert explain(run_dir, "--shard", "1/3") == 0
        assert explain(run_dir, "--shard", "2/3", "--limit", "1") == 0
        assert explain(run_dir, "--merge") == 2
        err = capsys.readouterr().err
        assert "shard 3 of 3 is missing" in err and "shard 2 of 3 is unfinished" in err
        assert explain(run_dir, "--shard", "1/2") == 2
        assert "split into 3" in capsys.readouterr().err
        assert explain(run_dir, "--shard", "2/3") == explain(run_dir, "--shard", "3/3") == 0
        assert explain(run_dir, "--merge", "--poles", "+") == 2
        assert "made for other neurons" in capsys.readouterr().err
        assert explain(run_dir, "--merge") == 0

    def test_poles_that_the_set_has_are_not_merged_a_second_time(
        self, run_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in (1, 2):
            assert explain(run_dir, "--shard", f"{number}/2") == 0
        assert explain(run_dir) == 0
        before = (run_dir / "explanations/lookup.jsonl").read_bytes()
        assert explain(run_dir, "--merge") == 2
        assert "that are not of the shards" in capsys.readouterr().err
        assert (run_dir / "explanations/lookup.jsonl").read_bytes() == before

    def test_shards_of_other_neurons_extend_a_set(self, run_dir: Path) -> None:
        assert explain(run_dir, "--neurons", "L0N0") == 0
        for number in (1, 2):
            assert explain(run_dir, "--neurons", "L1N0,L1N2", "--shard", f"{number}/2") == 0
        assert explain(run_dir, "--neurons", "L1N0,L1N2", "--merge") == 0
        assert {e.layer for e in entries(run_dir, "lookup")} == {0, 1}

    def test_a_killed_merge_is_continued(self, run_dir: Path) -> None:
        for number in (1, 2):
            assert explain(run_dir, "--shard", f"{number}/2") == 0
        assert run(rules_and_die, str(run_dir), 4, "--merge").returncode == -signal.SIGKILL
        assert explain(run_dir, "--merge") == 0
        assert explain(run_dir, "--set", "whole") == 0
        assert texts(run_dir, "lookup") == texts(run_dir, "whole")
