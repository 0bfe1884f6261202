"""The address of the server: https, or http on this machine; and a request goes nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from llm_sessions import ask, client_of, prompts
from misbehaving_server import MisbehavingServer, redirect

from neuron_signatures.llm.choose import LlmSpec, open_client, open_prices, parse_llm
from neuron_signatures.llm.endpoint import OPENAI_URL, open_endpoint
from neuron_signatures.runs.errors import UsageError


@pytest.mark.parametrize("status_target", ["/v1/chat/completions", "/elsewhere"])
def test_a_redirect_is_not_followed(tmp_path: Path, status_target: str) -> None:
    with MisbehavingServer() as other:
        target = other.base_url.removesuffix("/v1") + status_target
        with MisbehavingServer(lambda _: redirect(target)) as server:
            outcome = ask(client_of(server.base_url), prompts(2), tmp_path)
            assert len(server.requests) == 2
    assert not other.requests
    assert {a.status for a in outcome.answers} == {"api_error"}
    assert "redirects are not followed" in outcome.answers[0].reason


@pytest.mark.parametrize(
    ("url", "is_loopback", "is_openai"),
    [
        ("https://api.openai.com/v1", False, True),
        ("https://eu.api.openai.com/v1", False, True),
        ("https://example.com/v1/", False, False),
        ("https://api.openai.com.example.com/v1", False, False),
        ("http://localhost:8000/v1", True, False),
        ("http://127.0.0.1:8000/v1", True, False),
        ("http://127.8.0.1/v1", True, False),
        ("http://[::1]:8000/v1", True, False),
        ("http://[::ffff:127.0.0.1]/v1", True, False),
        ("https://10.0.0.3/v1", False, False),
    ],
)
def test_allowed_addresses(url: str, is_loopback: bool, is_openai: bool) -> None:
    endpoint = open_endpoint(url)
    assert (endpoint.is_loopback, endpoint.is_openai) == (is_loopback, is_openai)
    assert not endpoint.base_url.endswith("/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/v1", "clear text"),
        ("http://192.168.0.2:8000/v1", "clear text"),
        ("http://localhost.example.com/v1", "clear text"),
        ("http://127.0.0.1.example.com/v1", "clear text"),
        ("file:///etc/passwd", "not an https or http"),
        ("ftp://example.com", "not an https or http"),
        ("gopher://127.0.0.1", "not an https or http"),
        ("example.com/v1", "not an https or http"),
        ("https://", "not an https or http"),
        ("", "not an https or http"),
        ("https://169.254.169.254/latest", "link-local"),
        ("http://169.254.169.254/latest", "link-local"),
        ("https://169.254.7.7", "link-local"),
        ("https://[fe80::1]/v1", "link-local"),
        ("https://[fd00:ec2::254]/v1", "metadata"),
        ("https://[::ffff:169.254.169.254]/v1", "link-local"),
        ("https://metadata.google.internal/v1", "metadata"),
        ("https://metadata.google.internal./v1", "metadata"),
        ("https://METADATA/v1", "metadata"),
        ("https://100.100.100.200/v1", "metadata"),
        ("https://0.0.0.0/v1", "one machine"),
        ("https://[::]/v1", "one machine"),
        ("https://224.0.0.1/v1", "one machine"),
        ("https://2852039166/v1", "unusual form"),
        ("https://0xa9fea9fe/v1", "unusual form"),
        ("https://169.254.43518/v1", "unusual form"),
        ("http://127.1/v1", "unusual form"),
        ("https://user:hunter2@example.com/v1", "user name or password"),
        ("https://hunter2@example.com/v1", "user name or password"),
        ("https://example.com/v1?key=hunter2", "query"),
        ("https://example.com/v1?", "query"),
        ("https://example.com/v1#hunter2", "query or fragment"),
        ("https://example.com:99999/v1", "not a URL"),
        ("https://exa mple.com/v1", "not a URL"),
        ("https://example.com\\@evil.com/v1", "not a URL"),
        ("https://exam\nple.com/v1", "not a URL"),
        ("https://ex\u00e4mple.com/v1", "not a URL"),
        ("https://[::1/v1", "not a URL"),
        ("https://-x-/v1", "no valid host"),
        ("https://" + "a" * 600, "not a URL"),
    ],
)
def test_refused_addresses(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        open_endpoint(url)
    line = str(caught.value)
    assert "--base_url" in line and "hunter2" not in line and len(line) < 300


def test_http_to_other_machines_can_be_allowed_but_not_to_metadata() -> None:
    assert open_endpoint("http://example.com:8000/v1", allow_http=True).host == "example.com"
    with pytest.raises(UsageError, match="link-local"):
        open_endpoint("http://169.254.169.254", allow_http=True)


def test_the_default_is_the_environment_then_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert open_endpoint(None).base_url == OPENAI_URL
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.com/v1")
    assert open_endpoint(None).base_url == "https://example.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.com/v1")
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        open_endpoint(None)


def test_only_openai_gets_the_newer_name_of_the_limit() -> None:
    from llm_sessions import asked

    assert b'"max_completion_tokens":50' in client_of("https://api.openai.com/v1").body_of(asked("x"))
    assert b'"max_tokens":50' in client_of("https://example.com/v1").body_of(asked("x"))


@pytest.mark.parametrize(
    "text", ["", "openai", "openai:", "local:", "none:x", "claude:x", "openai:a\nb", "openai:" + "x" * 300]
)
def test_a_wrong_llm_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--llm"):
        parse_llm(text)


def test_llm_names_with_colons_and_slashes() -> None:
    assert parse_llm("openai:org/model:free") == LlmSpec("openai", "org/model:free")
    assert parse_llm("local:C:/models/m.gguf").model == "C:/models/m.gguf"
    assert parse_llm("none").kind == open_client(parse_llm("none")).kind == "none"


def test_published_prices_are_for_openai_only(tmp_path: Path) -> None:
    assert open_prices(LlmSpec("openai", "gpt-4o", base_url="https://example.com/v1"), None) is None
    assert open_prices(LlmSpec("local", "demo"), None) is None
    prices = open_prices(LlmSpec("openai", "gpt-4o", base_url=OPENAI_URL), None)
    assert prices is not None and prices.of("gpt-4o-2024-11-20") == prices.of("gpt-4o") is not None
    file = tmp_path / "prices.json"
    file.write_text('{"date": "2025-01", "source": "mine", "models": {"m": {"input": 1, "output": 2.5}}}')
    own = open_prices(LlmSpec("openai", "m", base_url="https://example.com/v1"), file)
    assert own is not None and own.of("m") == (1.0, 2.5) and own.of("other") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"models": {}}',
        '{"date": "", "source": "", "models": {"m": {"input": -1, "output": 1}}}',
        '{"date": "", "source": "", "models": {"m": {"input": "1", "output": 1}}}',
        '{"date": "", "source": "", "models": {"m": 3}}',
        '{"date": "", "source": "", "models": {"m": {"input": NaN, "output": 1}}}',
    ],
)
def test_a_wrong_price_file_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"prices\.json"):
        open_prices(LlmSpec("local", "m"), file)
