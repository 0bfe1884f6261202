"""Stage 6 that is killed, stopped or disturbed loses no score, pays for none twice, and ends in the same scores."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path
from shutil import copytree

import pytest
from forked import Child, run
from llm_sessions import ledger_of, responses
from misbehaving_server import (
    MODEL,
    Act,
    Asked,
    MisbehavingServer,
    answer,
    cut,
    half_json,
    rate_limited,
    server_error,
    web_page,
)
from score_stage import (
    JUDGED,
    WORDS,
    assert_same_scores,
    judge,
    judge_and_die,
    lines,
    make_run,
    score,
    score_and_die,
    score_slowly,
    table,
    verdicts,
)

from neuron_signatures.llm.wire.retries import RetryPolicy
from neuron_signatures.runs import __main__ as runs_program
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.scores.log import ScoreLog

RULE = f"{WORDS}__rule"
SOME = ("--neurons", "L0N0,L0N1,L0N2", "--poles", "+", "--controls", "own,other")


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run_dir(made_run: Path, tmp_path: Path) -> Path:
    return copytree(made_run, tmp_path / "run")


@pytest.fixture(scope="module")
def whole_run(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored by an uninterrupted command."""
    run_dir = copytree(made_run, tmp_path_factory.mktemp("whole") / "run")
    assert score(run_dir) == 0
    return run_dir


def test_killed_scores_continue_and_a_torn_line_is_scored_again(run_dir: Path, whole_run: Path) -> None:
    assert run(score_and_die, str(run_dir), 7).returncode == -signal.SIGKILL
    with (run_dir / f"scores/{RULE}.jsonl").open("ab") as f:
        f.write(b'{"explanation": "torn')
    assert len(lines(run_dir, RULE)) == 7
    assert score(run_dir) == 0
    assert_same_scores(run_dir, whole_run, RULE)
    assert runs_program.main(["verify", str(run_dir)]) == 0


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(run_dir: Path, whole_run: Path) -> None:
    moments = random.Random(0)
    for _ in range(10):
        child = Child(score_slowly, str(run_dir), 0.02)
        child.process.join(moments.uniform(0.05, 2.5))
        if child.process.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert score(run_dir) == 0
    assert_same_scores(run_dir, whole_run, RULE)
    assert runs_program.main(["verify", str(run_dir)]) == 0


@pytest.mark.slow
def test_a_killed_judge_is_paid_for_nothing_twice(run_dir: Path, tmp_path: Path) -> None:
    whole = copytree(run_dir, tmp_path / "whole")
    moments = random.Random(1)
    with MisbehavingServer(verdicts) as server:
        for _ in range(10):
            killed = run(judge_and_die, str(run_dir), server.base_url, moments.randrange(8), *SOME)
            assert killed.returncode in (0, -signal.SIGKILL)
        assert judge(run_dir, server.base_url, *SOME) == 0
        asked = Counter(r.prompt for r in server.requests if r.body)
        # a request that was under way at a kill has no answer in the journal; at most one per slot and kill
        assert len(responses(run_dir)) == len(asked)
        assert ledger_of(run_dir).account("score").requests - len(asked) <= 8 * 10
        assert judge(whole, server.base_url, *SOME) == 0
    assert_same_scores(run_dir, whole, JUDGED)


def test_a_signal_leaves_what_is_done_and_exits_75(run_dir: Path, whole_run: Path) -> None:
    child = Child(score_slowly, str(run_dir), 0.1)
    log = run_dir / f"scores/{RULE}.jsonl"
    while not (log.exists() and log.stat().st_size):
        child.process.join(0.01)
        assert child.process.is_alive(), child.stderr
    os.kill(child.pid, signal.SIGTERM)
    stopped = child.wait()
    assert stopped.returncode == 75 and "run the same command" in stopped.stderr
    assert 0 < len(lines(run_dir, RULE)) < len(lines(whole_run, RULE))
    assert score(run_dir) == 0
    assert_same_scores(run_dir, whole_run, RULE)


def test_a_budget_ends_with_75_and_the_same_command_continues(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with MisbehavingServer(verdicts) as server:
        assert judge(run_dir, server.base_url, *SOME, "--max_requests", "9") == 75
        assert len(server.requests) == 9
        out, err = capsys.readouterr()
        assert "unfinished" in out and "max_requests" in err
        assert judge(run_dir, server.base_url, *SOME) == 0
        assert max(Counter(r.prompt for r in server.requests).values()) == 1
    assert (run_dir / f"scores/{JUDGED}_meta.json").exists()


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (server_error(), "api_error"),
        (web_page(), "api_error"),
        (half_json(), "api_error"),
        (cut(), "api_error"),
        (answer("[1, 2]"), "unparsable"),
        (answer(None, refusal="I can't help with that."), "refused"),
        (answer("[1", finish="length"), "too_long"),
        (answer("", finish="content_filter"), "filtered"),
    ],
)
def test_a_bad_answer_lowers_the_coverage_and_can_be_retried(
    run_dir: Path, act: Act, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    bad: list[str] = []

    def script(asked: Asked) -> Act:
        bad.append(asked.prompt)
        return act if asked.prompt == bad[0] and not healed else verdicts(asked)

    healed: list[bool] = []
    flags = (*SOME, "--concurrency", "1")
    with MisbehavingServer(script) as server:
        assert judge(run_dir, server.base_url, *flags) == 1
        failed = [line for line in lines(run_dir, JUDGED).values() if status in line.requests]
        assert len(failed) == 1 and failed[0].status == "ok" and failed[0].reason and 0 < failed[0].coverage < 1
        assert table(run_dir, JUDGED)["coverage"].min() < 1
        n = len(server.requests)
        assert judge(run_dir, server.base_url, *flags) == 0
        assert len(server.requests) == n
        healed.append(True)
        assert judge(run_dir, server.base_url, *flags, "--retry_failed") == 0
        assert len(server.requests) == n + 1
    assert all(set(line.requests) <= {"ok"} for line in lines(run_dir, JUDGED).values())
    assert runs_program.main(["verify", str(run_dir)]) == 0


def test_an_item_without_any_answer_has_no_score(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    with MisbehavingServer(lambda _: answer(None, refusal="no")) as server:
        assert judge(run_dir, server.base_url, "--neurons", "L0N0", "--poles", "+", "--controls", "own") == 1
    frame = table(run_dir, JUDGED)
    assert frame["status"].tolist() == ["refused"] and frame["coverage"].tolist() == [0.0]
    assert frame["value"].isna().all() and frame["score"].tolist() == [""]


def test_a_rate_limit_is_waited_for(run_dir: Path) -> None:
    with MisbehavingServer([rate_limited(1)]) as server:
        judge(run_dir, server.base_url, "--neurons", "L0N0", "--poles", "+", "--controls", "own")
        assert len(server.requests) > 1
    assert MODEL in JUDGED


def test_another_writer_is_named_and_nothing_is_asked(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MisbehavingServer(verdicts) as server, run_lock(run_dir):
        assert judge(run_dir, server.base_url) == 4
        assert not server.requests
    assert "another process is writing" in capsys.readouterr().err
    assert not list((run_dir / "scores").glob("*")) if (run_dir / "scores").exists() else True


def test_a_full_disk_keeps_what_is_there(
    run_dir: Path, whole_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    write = os.write

    def full(fd: int, raw: bytes) -> int:
        if raw.startswith(b'{"explanation"'):
            written.append(raw)
            if len(written) > 5:
                write(fd, raw[:20])
                raise OSError(28, "No space left on device")
        return write(fd, raw)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert score(run_dir) == 1
    assert "disk" in capsys.readouterr().err.lower()
    assert len(lines(run_dir, RULE)) == 5
    assert score(run_dir) == 0
    assert_same_scores(run_dir, whole_run, RULE)


def test_the_key_is_in_no_file(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-88bb")
    with MisbehavingServer(verdicts) as server:
        assert judge(run_dir, server.base_url, "--neurons", "L0N0", "--poles", "+", "--controls", "own") == 0
        assert server.requests[0].key == "sk-canary-88bb"
    assert not [p for p in run_dir.rglob("*") if p.is_file() and b"sk-canary-88bb" in p.read_bytes()]


def test_settings_and_log_are_there_before_the_first_score(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ScoreLog, "append", stop)
    assert score(run_dir) in (75, 130)
    assert {p.name for p in (run_dir / "scores").iterdir()} == {f"{RULE}.jsonl", f"{RULE}_settings.json"}
