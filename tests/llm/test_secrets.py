"""The key is in no text that is produced, whatever the server does with it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from llm_sessions import CANARY, ask, client_of, prompts
from misbehaving_server import Act, MisbehavingServer, echo_key, rate_limited, redirect, send_json, server_error

from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.choose import LlmSpec, open_client
from neuron_signatures.llm.endpoint import key_of, open_endpoint
from neuron_signatures.llm.wire.secret import REDACTED, Secret
from neuron_signatures.runs.errors import UsageError

_ESCAPED = b'{"choices":[{"message":{"content":"the key is %b"}}]}' % CANARY.replace("/", "\\/").encode()
_CODES = b'{"choices":[{"message":{"content":"the key is %b"}}]}' % "".join(f"\\u{ord(c):04x}" for c in CANARY).encode()


@pytest.mark.parametrize(
    "act",
    [
        echo_key(200),
        echo_key(400),
        echo_key(401),
        echo_key(403),
        echo_key(429),
        echo_key(500),
        Act(b"{key}", 200, echo=True),
        Act(b"<html>{key}</html>", 502, echo=True),
        Act(b'{"error": "{key}"}', 200, echo=True),
        Act(b'{"model": "{key}", "choices": [{"message": {"content": "hi"}}]}', echo=True),
        Act(b"{}", 400, {"X-Echo": CANARY, "Set-Cookie": f"key={CANARY}"}),
        Act(_ESCAPED),
        Act(_CODES),
        redirect(f"http://127.0.0.1:1/?{CANARY}"),
        server_error(),
        rate_limited(3600),
    ],
)
def test_the_key_is_in_no_file_no_log_and_no_answer(
    tmp_path: Path, act: Act, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with MisbehavingServer(lambda _: act) as server:
        client = client_of(server.base_url)
        outcome = ask(client, prompts(2), tmp_path / "run", cache=AnswerCache(tmp_path / "cache"))
        assert server.requests[0].key == CANARY  # so it was there to be leaked
    shown = [repr(outcome), str(outcome), repr(client), repr(vars(client)), caplog.text, *capfd.readouterr()]
    shown += [str(stop.args) for stop in [outcome.stopped] if stop is not None]
    stored = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert stored
    for text in [*shown, *stored]:
        assert CANARY not in text
        assert CANARY[:12] not in text


def test_an_answer_with_the_key_is_redacted(tmp_path: Path) -> None:
    with MisbehavingServer([echo_key(200)]) as server:
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path)
    assert outcome.answer.text == f"Incorrect API key provided: {REDACTED}"


def test_bodies_that_can_repeat_a_part_of_the_key_are_not_kept(tmp_path: Path) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {CANARY[:6]}***{CANARY[-4:]}"}}
    with MisbehavingServer(lambda _: send_json(body, 401)) as server:
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path)
        assert len(server.requests) <= 3
    assert set(outcome.statuses) == {"stopped"}
    assert "does not accept the key" in str(outcome.stopped)
    for path in tmp_path.rglob("*.json*"):
        assert "***" not in path.read_text()


def test_no_environment_variable_but_the_key_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "of-another-server")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: of-another-server\nAuthorization: Bearer of-another-server")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with MisbehavingServer() as server:
        assert ask(client_of(server.base_url), prompts(1), tmp_path).answer.status == "ok"
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert not [name for name, value in headers.items() if "of-another-server" in value]
    assert not [name for name in headers if name.startswith(("x-stainless", "cookie"))]


def test_cookies_of_a_server_are_not_sent_back(tmp_path: Path) -> None:
    cookies = [Act(b"{}", 500, {"Set-Cookie": "session=1"})]
    with MisbehavingServer(cookies) as server:
        ask(client_of(server.base_url), prompts(1), tmp_path)
    assert len(server.requests) == 2
    assert "cookie" not in server.requests[1].headers


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-other-key")
    monkeypatch.setenv("MY_KEY", CANARY)
    with MisbehavingServer() as server:
        client = open_client(LlmSpec("openai", "gpt-test", base_url=server.base_url, api_key_env="MY_KEY"))
        ask(client, prompts(1), tmp_path)  # type: ignore[arg-type]
    assert server.requests[0].key == CANARY


def test_a_missing_key_is_an_error_but_for_servers_on_this_machine() -> None:
    with pytest.raises(UsageError, match="MY_KEY"):
        key_of(open_endpoint("https://api.openai.com/v1"), "MY_KEY", {})
    assert key_of(open_endpoint("http://localhost:8000/v1"), "MY_KEY", {}).reveal() == "none"
    assert key_of(open_endpoint("http://localhost:8000/v1"), "MY_KEY", {"MY_KEY": CANARY}).reveal() == CANARY


@pytest.mark.parametrize("name", [CANARY, "sk_live_abcdefgh", "", "A" * 65, "A B"])
def test_a_key_in_place_of_the_variable_is_not_repeated(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        key_of(open_endpoint(None), name, {})
    assert "--api_key_env" in str(caught.value)
    assert not name or name not in str(caught.value)


@pytest.mark.parametrize("value", [CANARY + "\n", CANARY + "é", f" {CANARY}", CANARY + "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_it(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        key_of(open_endpoint(None), "MY_KEY", {"MY_KEY": value})
    assert CANARY not in str(caught.value)
    assert "MY_KEY" in str(caught.value)


def test_short_placeholders_are_no_secrets() -> None:
    assert Secret("none").redact("none of these") == "none of these"
