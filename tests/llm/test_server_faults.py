"""A server that misbehaves: each fault becomes a status, attempts are bounded, and other requests go on."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import time
from pathlib import Path

import pytest
from llm_sessions import Waits, ask, asked, client_of, prompts
from misbehaving_server import (
    Act,
    MisbehavingServer,
    answer,
    bad_gateway,
    completion,
    cut,
    error,
    error_with_200,
    half_json,
    hang,
    huge,
    no_choices,
    no_quota,
    rate_limited,
    refusal,
    send_json,
    server_error,
    web_page,
    with_logprobs,
)

from neuron_signatures.llm.chat import TokenProb
from neuron_signatures.llm.wire.pace import Pace
from neuron_signatures.runs.errors import ExitCode


def test_an_answer_is_what_the_server_sent(tmp_path: Path) -> None:
    with MisbehavingServer(lambda asked: answer(f"about {asked.prompt[-1]}")) as server:
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path)
    assert [a.text for a in outcome.answers] == ["about 0", "about 1", "about 2"]
    first = outcome.answers[0]
    assert (first.model, first.system_fingerprint, first.prompt_tokens, first.completion_tokens) == (
        "gpt-test", "fp_test", 100, 10,
    )  # fmt: skip
    sent = next(asked for asked in server.requests if asked.prompt.endswith("0"))
    assert sent.path == "/v1/chat/completions"
    assert sent.body == {
        "model": "gpt-test", "max_tokens": 50, "temperature": 0.0, "seed": 0,
        "messages": [{"role": "system", "content": "Explain."}, {"role": "user", "content": "prompt 0"}],
    }  # fmt: skip


@pytest.mark.parametrize("wait", ["1", "1.0"])
def test_a_short_retry_after_is_honoured(tmp_path: Path, wait: str) -> None:
    waits = Waits()
    with MisbehavingServer([rate_limited(wait)]) as server:
        outcome = ask(client_of(server.base_url, waits=waits), prompts(1), tmp_path)
    assert outcome.answer.status == "ok"
    assert len(server.requests) == 2
    assert 1.0 <= max(waits.seconds) <= 1.2


def test_retry_after_can_be_a_date(tmp_path: Path) -> None:
    waits = Waits()
    with MisbehavingServer([rate_limited(email.utils.formatdate(time.time() + 30, usegmt=True))]) as server:
        outcome = ask(client_of(server.base_url, waits=waits), prompts(1), tmp_path)
    assert outcome.answer.status == "ok"
    assert 20 < max(waits.seconds) < 34


def test_a_rate_limit_pauses_all_requests(tmp_path: Path) -> None:
    """The second request, which comes after the 429 of the first, waits too."""
    waits = Waits()
    with MisbehavingServer([rate_limited(7)]) as server:
        client = client_of(server.base_url, waits=waits, concurrency=1)
        ask(client, prompts(2), tmp_path)
    assert sum(seconds > 6 for seconds in waits.seconds) >= 2


@pytest.mark.parametrize("as_date", [False, True])
def test_a_long_retry_after_stops_all_asking(tmp_path: Path, as_date: bool) -> None:
    wait = email.utils.formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    with MisbehavingServer(lambda _: rate_limited(wait)) as server:
        outcome = ask(client_of(server.base_url), prompts(40), tmp_path)
    assert set(outcome.statuses) == {"stopped"}
    assert len(server.requests) <= 4  # those under way at the same time
    stop = outcome.stopped
    assert stop is not None and stop.exit_code == ExitCode.RESUMABLE
    assert "asks to wait 60 min" in stop.line()


def test_a_used_up_quota_stops_all_asking_without_a_storm(tmp_path: Path) -> None:
    with MisbehavingServer(lambda _: no_quota()) as server:
        outcome = ask(client_of(server.base_url, concurrency=4), prompts(100), tmp_path)
    assert set(outcome.statuses) == {"stopped"}
    assert len(server.requests) <= 4
    assert "quota" in str(outcome.stopped)


def test_a_used_up_quota_ends_the_waits_of_other_requests(tmp_path: Path) -> None:
    """The first request waits for a minute, and the second meets the end of the quota."""
    script = {"prompt 0": rate_limited(50), "prompt 1": Act(no_quota().body, 429, delay=0.1)}
    with MisbehavingServer(script) as server:
        client = client_of(server.base_url)
        client._sleep = asyncio.sleep
        start = time.monotonic()
        outcome = ask(client, prompts(2), tmp_path)
    assert outcome.statuses == ["stopped", "stopped"]
    assert time.monotonic() - start < 40
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("act", "status", "attempts"),
    [
        (server_error(), "api_error", 4),
        (bad_gateway(), "api_error", 4),
        (web_page(), "api_error", 1),
        (error_with_200(), "api_error", 4),
        (no_choices(), "api_error", 1),
        (answer(None), "unparsable", 1),
        (answer("  \n"), "unparsable", 1),
        (half_json(), "api_error", 4),
        (cut(), "api_error", 4),
        (huge(), "api_error", 1),
        (rate_limited(), "api_error", 4),
        (send_json([1, 2]), "api_error", 4),
        (send_json({**completion(), "choices": "none"}), "api_error", 1),
        (send_json({**completion(), "choices": [{"message": "hi"}]}), "api_error", 1),
        (Act(b"[" * 100_000), "api_error", 4),
        (Act(b"", 204), "api_error", 1),
        (answer(["a", "list"]), "unparsable", 1),  # type: ignore[arg-type]
        (answer("text", tool_calls=[{"id": "1"}]), "unparsable", 1),
        (answer("half a", finish="length"), "too_long", 1),
        (answer("half a", finish="content_filter"), "filtered", 1),
        (refusal(), "refused", 1),
        (answer("Sorry", refusal="no"), "refused", 1),
        (error(400, "maximum context length is 8192 tokens", "context_length_exceeded"), "too_long", 1),
        (error(400, "This model's maximum context length is 2048 tokens."), "too_long", 1),
        (error(400, "blocked by the filter", "content_filter"), "filtered", 1),
        (error(400, "temperature is not supported"), "api_error", 1),
        (error(404, "the model does not exist", "model_not_found"), "api_error", 1),
        (error(403, "not allowed"), "api_error", 1),
    ],
)  # fmt: skip
def test_each_fault_has_a_status_and_others_go_on(tmp_path: Path, act: Act, status: str, attempts: int) -> None:
    with MisbehavingServer({"prompt 1": act}) as server:
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path)
    assert outcome.statuses == ["ok", status, "ok"]
    bad = outcome.answers[1]
    assert bad.text == ""
    assert bad.reason and "\n" not in bad.reason and len(bad.reason) <= 400
    assert sum("prompt 1" in prompt for prompt in server.prompts) == attempts


def test_a_hang_ends_at_the_time_limit(tmp_path: Path) -> None:
    with MisbehavingServer({"prompt 1": hang()}) as server:
        outcome = ask(client_of(server.base_url, timeout=0.2), prompts(3), tmp_path)
    assert outcome.statuses == ["ok", "timed_out", "ok"]
    assert sum("prompt 1" in prompt for prompt in server.prompts) == 2


def test_a_body_of_20_mb_is_not_read_whole(tmp_path: Path) -> None:
    with MisbehavingServer([huge(20_000_000)]) as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path)
    assert outcome.answer.reason == "the response is too large or compressed"
    assert 4_000_000 < server.sent_bytes < 16_000_000  # with the buffers of the sockets
    assert (tmp_path / "llm" / "journal.jsonl").stat().st_size < 1000


def test_a_compressed_body_is_refused(tmp_path: Path) -> None:
    body = gzip.compress(b"x" * 100_000)
    with MisbehavingServer([Act(body, headers={"Content-Encoding": "gzip"})]) as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path)
    assert outcome.answer.reason == "the response is too large or compressed"
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with MisbehavingServer() as server:
        gone = server.base_url
    outcome = ask(client_of(gone), prompts(1), tmp_path)
    assert outcome.answer.status == "api_error"
    assert "4 attempts" in outcome.answer.reason


def test_a_server_that_is_out_of_order_ends_the_asking(tmp_path: Path) -> None:
    with MisbehavingServer(lambda _: server_error()) as server:
        outcome = ask(client_of(server.base_url), prompts(60), tmp_path)
    assert "in a row failed" in str(outcome.stopped)
    assert 32 <= outcome.statuses.count("api_error") < 60


def test_no_more_requests_are_open_than_allowed(tmp_path: Path) -> None:
    with MisbehavingServer(lambda _: Act(answer().body, delay=0.01)) as server:
        ask(client_of(server.base_url, concurrency=3), prompts(12), tmp_path)
    assert server.most_open == 3


def test_limits_per_minute_spread_the_requests(tmp_path: Path) -> None:
    waits = Waits()
    pace = Pace(60, None, clock=lambda: 100.0)
    with MisbehavingServer() as server:
        ask(client_of(server.base_url, waits=waits, pace=pace), prompts(4), tmp_path)
    assert sorted(waits.seconds) == [1.0, 2.0, 3.0]
    assert Pace(None, 600, clock=lambda: 0.0).claim(50) == 0.0
    tokens = Pace(None, 600, clock=lambda: 0.0)
    assert [tokens.claim(50) for _ in range(3)] == [0.0, 5.0, 10.0]


def test_candidates_of_each_token_are_read(tmp_path: Path) -> None:
    script = [with_logprobs([{"3": -0.1, "4": -2.5}, {"0": -0.2}])]
    with MisbehavingServer(script) as server:
        outcome = ask(client_of(server.base_url), [asked("which", top_logprobs=2)], tmp_path)
    assert outcome.answer.top_logprobs == ((TokenProb("3", -0.1), TokenProb("4", -2.5)), (TokenProb("0", -0.2),))
    assert server.requests[0].body["logprobs"] is True
    assert server.requests[0].body["top_logprobs"] == 2


def test_candidates_of_a_cut_answer_are_kept_and_its_text_is_not(tmp_path: Path) -> None:
    """An answer of one token, of which only the candidates are wanted, always ends at its limit."""
    value = json.loads(with_logprobs([{"3": -0.1, "4": -2.5}]).body)
    value["choices"][0]["finish_reason"] = "length"
    with MisbehavingServer([send_json(value)]) as server:
        found = ask(client_of(server.base_url), [asked("x", max_tokens=1, top_logprobs=2)], tmp_path / "run").answer
    assert (found.status, found.text) == ("too_long", "") and found.top_logprobs is not None
    assert [(p.token, p.logprob) for p in found.top_logprobs[0]] == [("3", -0.1), ("4", -2.5)]


def test_text_that_no_file_can_hold_is_made_storable(tmp_path: Path) -> None:
    with MisbehavingServer([Act(b'{"choices":[{"message":{"content":"half \\ud800 pair"}}]}')]) as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path)
    assert outcome.answer.text == "half \N{REPLACEMENT CHARACTER} pair"
