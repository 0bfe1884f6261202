"""What was answered is not paid again, limits hold, and the books are right, also after kill -9."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from llm_sessions import (
    STAGE,
    Waits,
    ask,
    asked,
    client_of,
    journal_text,
    ledger_of,
    price_list,
    prompts,
    responses,
)
from misbehaving_server import (
    Act,
    MisbehavingServer,
    answer,
    completion,
    cut,
    half_json,
    hang,
    refusal,
    send_json,
    server_error,
)

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatRequest, TokenProb
from neuron_signatures.llm.none import NoClient
from neuron_signatures.llm.prices import Price
from neuron_signatures.llm.session import Session
from neuron_signatures.runs.errors import BadRunError, ExitCode, UsageError
from neuron_signatures.runs.llm.names import RequestFiles

ONE = Price(1.0, 10.0).cost(100, 10)
"""Dollars of one answer of the test server."""


def test_a_second_process_takes_answers_from_the_journal(tmp_path: Path) -> None:
    with MisbehavingServer(lambda asked: answer(asked.prompt.upper())) as server:
        first = ask(client_of(server.base_url), prompts(5), tmp_path, prices=price_list())
        second = ask(client_of(server.base_url), prompts(6), tmp_path, prices=price_list())
        assert len(server.requests) == 6
    assert [a.text for a in first.answers] == [a.text for a in second.answers][:5]
    assert {a.source for a in second.answers[:5]} == {"journal"}
    assert {a.cost for a in second.answers[:5]} == {0.0}
    assert second.answers[5].cost == pytest.approx(ONE)
    assert (second.session.totals.from_journal, second.session.totals.requests) == (5, 1)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_after_a_paid_answer_nothing_is_paid_twice(tmp_path: Path) -> None:
    with MisbehavingServer(lambda asked: answer(asked.prompt.upper())) as server:
        code = f"from llm_sessions import ask_and_die; ask_and_die({server.base_url!r}, {str(tmp_path)!r})"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(server.requests) == 3
        assert not (tmp_path / "llm" / "ledger.json").exists()
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path, prices=price_list())
        assert len(server.requests) == 3
    assert [a.text[-8:] for a in outcome.answers] == ["PROMPT 0", "PROMPT 1", "PROMPT 2"]
    account = ledger_of(tmp_path).account(STAGE)
    assert (account.requests, account.prompt_tokens, account.completion_tokens) == (3, 300, 30)
    assert account.cost == pytest.approx(3 * ONE)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_requests_under_way_at_a_kill_count_towards_the_limits(tmp_path: Path) -> None:
    limits = Limits(max_requests=5)
    with MisbehavingServer(lambda _: hang()) as server:
        code = (
            "from pathlib import Path; from llm_sessions import ask, client_of, price_list, prompts; "
            f"ask(client_of({server.base_url!r}, concurrency=2), prompts(3), Path({str(tmp_path)!r}))"
        )
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with subprocess.Popen([sys.executable, "-c", code], env=env) as asking:
            while len(server.requests) < 2:
                assert asking.poll() is None
                time.sleep(0.01)
            asking.kill()
        server.script = None
        outcome = ask(client_of(server.base_url), prompts(9), tmp_path, limits=limits, prices=price_list())
        assert outcome.statuses.count("ok") == 3
        again = ask(client_of(server.base_url), prompts(9), tmp_path, limits=limits, prices=price_list())
        assert again.stopped is not None and len(server.requests) == 5
    account = ledger_of(tmp_path).account(STAGE)
    assert (account.requests, account.failed) == (5, 2)
    assert account.unknown_cost_at_most > 0
    (tmp_path / "llm" / "ledger.json").unlink()
    ask(client_of("http://127.0.0.1:1/v1"), prompts(1), tmp_path, limits=limits, prices=price_list())
    assert ledger_of(tmp_path).account(STAGE) == account


def test_a_ledger_that_is_written_during_requests_forgets_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_signatures.llm.asking.books.LEDGER_SECONDS", 0.0)
    delays = {"0": 0.0, "1": 0.1, "2": 0.2}
    with MisbehavingServer(lambda asked: Act(answer().body, delay=delays[asked.prompt[-1]])) as server:
        ask(client_of(server.base_url), prompts(3), tmp_path, prices=price_list())
        account = ledger_of(tmp_path).account(STAGE)
        (tmp_path / "llm" / "ledger.json").unlink()
        ask(client_of(server.base_url), prompts(3), tmp_path, prices=price_list())
    assert ledger_of(tmp_path).account(STAGE) == account
    assert account.requests == 3


def test_a_torn_last_line_is_ignored_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "llm" / "journal.jsonl"
    with MisbehavingServer() as server:
        ask(client_of(server.base_url), prompts(2), tmp_path)
        path.write_bytes(path.read_bytes()[:-5])
        ask(client_of(server.base_url), prompts(2), tmp_path)
        assert len(server.requests) == 3
        ask(client_of(server.base_url), prompts(2), tmp_path)
        assert len(server.requests) == 3
    lines = responses(tmp_path)
    assert len(lines) == 2
    assert all(json.loads(line)["http_status"] == 200 for line in lines)


def test_the_same_request_is_sent_once(tmp_path: Path) -> None:
    with MisbehavingServer(lambda _: Act(answer().body, delay=0.05)) as server:
        outcome = ask(client_of(server.base_url), [asked("one"), asked("one"), asked("one", seed=1)], tmp_path)
    assert len(server.requests) == 2
    assert sorted(a.source for a in outcome.answers) == ["journal", "sent", "sent"]


def test_other_messages_parameters_models_and_servers_are_other_requests(tmp_path: Path) -> None:
    requests = [asked("a"), asked("b"), asked("a", seed=1), asked("a", max_tokens=51), asked("a", top_logprobs=3)]
    with MisbehavingServer() as server, MisbehavingServer() as other:
        ask(client_of(server.base_url), requests, tmp_path)
        assert len(server.requests) == 5
        ask(client_of(other.base_url), requests[:1], tmp_path)
        assert len(other.requests) == 1
        client = client_of(server.base_url)
        client.model = "another"
        ask(client, requests[:1], tmp_path)
        assert len(server.requests) == 6


@pytest.mark.parametrize(("act", "n"), [(refusal(), 1), (answer("x", finish="length"), 1), (server_error(), 8)])
def test_a_paid_failure_is_not_paid_again_and_an_error_is_asked_again(tmp_path: Path, act: Act, n: int) -> None:
    with MisbehavingServer(lambda _: act) as server:
        first = ask(client_of(server.base_url), prompts(1), tmp_path)
        second = ask(client_of(server.base_url), prompts(1), tmp_path)
        assert first.statuses == second.statuses
        assert len(server.requests) == n


def test_answers_that_were_used_can_be_skipped(tmp_path: Path) -> None:
    with MisbehavingServer([refusal(), answer("second")]) as server:
        assert ask(client_of(server.base_url), prompts(1), tmp_path).statuses == ["refused"]
        assert ask(client_of(server.base_url), prompts(1), tmp_path, skip=1).answer.text == "second"
        again = ask(client_of(server.base_url), prompts(1), tmp_path, skip=1)  # killed before it was stored
        assert again.answer.text == "second"
        assert len(server.requests) == 2


def test_a_skipped_answer_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "cache")
    with MisbehavingServer([answer("first"), answer("second")]) as server:
        ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=cache)
        other = ask(client_of(server.base_url), prompts(1), tmp_path / "b", cache=cache, skip=1)
    assert other.answer.text == "second"


def test_a_limit_on_requests_stops_before_it_and_can_be_raised(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = ask(client_of(server.base_url), prompts(8), tmp_path, limits=Limits(max_requests=3))
        assert len(server.requests) == 3
        assert outcome.statuses.count("ok") == 3
        stop = outcome.stopped
        assert stop is not None and stop.exit_code == ExitCode.RESUMABLE
        assert "--max_requests 3" in stop.line()
        again = ask(client_of(server.base_url), prompts(8), tmp_path, limits=Limits(max_requests=3))
        assert again.statuses.count("ok") == 3 and len(server.requests) == 3
        more = ask(client_of(server.base_url), prompts(8), tmp_path, limits=Limits(max_requests=100))
        assert set(more.statuses) == {"ok"} and len(server.requests) == 8


def test_repeated_requests_count_for_the_limit(tmp_path: Path) -> None:
    with MisbehavingServer(lambda _: server_error()) as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path, limits=Limits(max_requests=2))
    assert outcome.statuses == ["stopped"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_limit_on_cost_is_never_passed_and_used_up_to_one_request(tmp_path: Path, concurrency: int) -> None:
    limit = 10.5 * ONE
    with MisbehavingServer(lambda _: Act(answer().body, delay=0.02)) as server:
        client = client_of(server.base_url, concurrency=concurrency)
        outcome = ask(client, prompts(40), tmp_path, limits=Limits(max_cost=limit), prices=price_list())
        n = len(server.requests)
    cost = ledger_of(tmp_path).account(STAGE).cost
    assert cost <= limit
    most = Price(1.0, 10.0).cost(len("Explain.prompt 00") + 16, 50)
    assert cost + most > limit  # so the next request could have passed it
    assert outcome.statuses.count("ok") == n
    assert "--max_cost" in str(outcome.stopped)


@pytest.mark.parametrize("act", [cut(), half_json(), hang()])
def test_answers_that_did_not_arrive_may_have_been_charged(tmp_path: Path, act: Act) -> None:
    most = Price(1.0, 10.0).cost(len("Explain.prompt 0") + 16, 50)
    with MisbehavingServer(lambda _: act) as server:
        client = client_of(server.base_url, timeout=0.1)
        ask(client, prompts(1), tmp_path, prices=price_list(), limits=Limits(max_cost=1.5 * most))
        assert len(server.requests) == 1
    account = ledger_of(tmp_path).account(STAGE)
    assert account.cost == 0
    assert account.unknown_cost_at_most == pytest.approx(most)


def test_a_limit_on_cost_needs_a_price(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    with pytest.raises(UsageError, match="--price_file"):
        Session(client_of("http://127.0.0.1:1/v1"), files, None, Limits(max_cost=1.0), None, STAGE)
    with pytest.raises(UsageError, match="--price_file"):
        other = price_list().model_copy(update={"models": {}})
        Session(client_of("http://127.0.0.1:1/v1"), files, None, Limits(max_cost=1.0), other, STAGE)


def test_without_a_price_the_cost_is_not_known(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path)
    assert outcome.answer.cost is None
    assert outcome.session.totals.cost is None
    assert ledger_of(tmp_path).account(STAGE).without_price == 1


def test_the_ledger_adds_up_over_processes_and_stages(tmp_path: Path) -> None:
    with MisbehavingServer({"bad": server_error()}) as server:
        ask(client_of(server.base_url), prompts(3), tmp_path, prices=price_list())
        ask(client_of(server.base_url), [*prompts(5), asked("bad")], tmp_path, prices=price_list())
        totals = _ask_for_stage(server.base_url, tmp_path, "score")
    ledger = ledger_of(tmp_path)
    account = ledger.account(STAGE)
    assert (account.requests, account.failed, account.prompt_tokens) == (5 + 4, 4, 500)
    assert account.cost == pytest.approx(5 * ONE)
    assert (ledger.account("score").requests, totals) == (1, 1)
    assert ledger.journal_bytes == len(journal_text(tmp_path))


def test_the_ledger_is_made_again_from_the_journal(tmp_path: Path) -> None:
    with MisbehavingServer([server_error(), cut()]) as server:
        ask(client_of(server.base_url), prompts(4), tmp_path, prices=price_list())
        before = ledger_of(tmp_path)
        (tmp_path / "llm" / "ledger.json").unlink()
        ask(client_of(server.base_url), prompts(1), tmp_path, prices=price_list())
    assert ledger_of(tmp_path) == before


def test_a_damaged_ledger_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "ledger.json").write_text('{"stages": 3}')
    with MisbehavingServer() as server, pytest.raises(BadRunError, match="made again from the journal"):
        ask(client_of(server.base_url), prompts(1), tmp_path)
    assert not server.requests


def test_another_model_under_the_same_name_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with MisbehavingServer(lambda _: answer(model="gpt-test-2024-01-01")) as server:
        ask(client_of(server.base_url), prompts(2), tmp_path)
        assert not caplog.records
        server.script = lambda _: answer(model="gpt-test-2025-06-30")
        outcome = ask(client_of(server.base_url), prompts(5), tmp_path)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["gpt-test is answered by gpt-test-2025-06-30 now; before, by gpt-test-2024-01-01"]
    assert outcome.answers[-1].model == "gpt-test-2025-06-30"


def test_nothing_is_opened_before_the_first_request(tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "ledger.json").write_text("damaged")
    session = Session(client_of("http://127.0.0.1:1/v1"), RequestFiles(tmp_path), None, Limits(), None, STAGE)
    session.close()
    assert [p.name for p in (tmp_path / "llm").iterdir()] == ["ledger.json"]


def test_files_of_shards_are_apart(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        for suffix in ("00001-of-00002", "00002-of-00002"):
            _ask_for_stage(server.base_url, tmp_path, STAGE, suffix)
    assert sorted(p.name for p in (tmp_path / "llm").iterdir()) == [
        "journal-00001-of-00002.jsonl", "journal-00002-of-00002.jsonl",
        "ledger-00001-of-00002.json", "ledger-00002-of-00002.json",
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links")
def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    (run_dir / "llm").mkdir(parents=True)
    outside.write_text("precious\n")
    (run_dir / "llm" / "journal.jsonl").symlink_to(outside)
    with MisbehavingServer() as server, pytest.raises(BadRunError, match="is a link"):
        ask(client_of(server.base_url), prompts(1), run_dir)
    assert not server.requests and outside.read_text() == "precious\n"


def test_a_copy_by_hard_links_is_not_changed(tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    with MisbehavingServer() as server:
        ask(client_of(server.base_url), prompts(1), tmp_path)
        os.link(tmp_path / "llm" / "journal.jsonl", copy)
        before = copy.read_text()
        outcome = ask(client_of(server.base_url), prompts(2), tmp_path)
    assert copy.read_text() == before
    assert journal_text(tmp_path).startswith(before)
    assert [a.source for a in outcome.answers] == ["journal", "sent"]


def test_a_cancelled_request_is_counted(tmp_path: Path) -> None:
    async def go(base_url: str) -> None:
        client = client_of(base_url)
        session = Session(client, RequestFiles(tmp_path), None, Limits(), price_list(), STAGE)
        task = asyncio.create_task(session.ask(asked("one")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        session.close()
        await client.close()

    with MisbehavingServer(lambda _: hang()) as server:
        asyncio.run(go(server.base_url))
    account = ledger_of(tmp_path).account(STAGE)
    assert (account.requests, account.failed) == (1, 1)
    assert account.unknown_cost_at_most > 0


class _Here:
    """A model in this process."""

    kind, model, version = "local", "tiny", "abc"

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    async def chat(self, request: ChatRequest) -> Answer:
        self.asked.append(request)
        return Answer("ok", "local text", model="tiny", prompt_tokens=7, completion_tokens=3, cost=0.0)

    async def close(self) -> None: ...


def test_a_local_model_is_journalled_and_costs_nothing(tmp_path: Path) -> None:
    async def go(client: _Here) -> tuple[Answer, Session]:
        session = Session(client, RequestFiles(tmp_path), None, Limits(max_cost=0.0), None, STAGE)
        answer = await session.ask(asked("one"))
        session.close()
        return answer, session

    first, second, other = _Here(), _Here(), _Here()
    other.version = "def"
    found, session = asyncio.run(go(first))
    assert (found.text, found.cost, session.totals.cost, session.totals.prompt_tokens) == ("local text", 0.0, 0.0, 7)
    again, _ = asyncio.run(go(second))
    assert (again.text, again.source, second.asked) == ("local text", "journal", [])
    asyncio.run(go(other))  # another version of the model
    assert len(other.asked) == 1
    assert ledger_of(tmp_path).account(STAGE).requests == 2


def test_candidates_of_a_local_model_come_back_from_the_journal(tmp_path: Path) -> None:
    class Candidates(_Here):
        async def chat(self, request: ChatRequest) -> Answer:
            self.asked.append(request)
            candidates = (TokenProb("a", -0.5), TokenProb(" 3", -math.inf))
            return Answer("ok", "text", top_logprobs=(candidates, ()))

    async def go(client: Candidates) -> Answer:
        session = Session(client, RequestFiles(tmp_path), None, Limits(), None, STAGE)
        found = await session.ask(asked("half \ud800 pair", top_logprobs=2))
        session.close()
        return found

    asyncio.run(go(Candidates()))
    again = asyncio.run(go(second := Candidates()))
    assert not second.asked
    assert again.top_logprobs == ((TokenProb("a", -0.5), TokenProb(" 3", -1e9)), ())


def test_no_client_answers_with_an_error() -> None:
    found = asyncio.run(NoClient().chat(asked("one")))
    assert (found.status, found.reason) == ("api_error", "there is no language model")


def test_prices_of_other_servers_count_by_their_tokens(tmp_path: Path) -> None:
    value = completion()
    value["usage"] = {"prompt_tokens": 2_000_000, "completion_tokens": 500_000}
    with MisbehavingServer([send_json(value)]) as server:
        outcome = ask(client_of(server.base_url, waits=Waits()), prompts(1), tmp_path, prices=price_list())
    assert outcome.answer.cost == pytest.approx(2 * 1.0 + 0.5 * 10.0)


def _ask_for_stage(base_url: str, run_dir: Path, stage: str, suffix: str = "") -> int:
    """Ask once; returns the number of requests of this process."""

    async def go() -> int:
        client = client_of(base_url)
        session = Session(client, RequestFiles(run_dir, suffix), None, Limits(), None, stage)
        await session.ask(asked(f"for {stage}"))
        session.close()
        await client.close()
        return session.totals.requests

    return asyncio.run(go())
