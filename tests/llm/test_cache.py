"""Answers in the user's cache: used in other runs, validated, and replaced if they do not fit."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llm_sessions import ask, client_of, prompts, responses
from misbehaving_server import HOSTILE, Act, MisbehavingServer, answer, completion, hostile, refusal, server_error

from neuron_signatures.llm.cache import AnswerCache, open_cache
from neuron_signatures.runs.explanations.entry import MAX_TEXT


def test_another_run_takes_answers_from_the_cache(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "cache")
    with MisbehavingServer(lambda asked: answer(asked.prompt.upper())) as server:
        first = ask(client_of(server.base_url), prompts(3), tmp_path / "a", cache=cache)
        second = ask(client_of(server.base_url), prompts(4), tmp_path / "b", cache=cache)
        assert len(server.requests) == 4
        ask(client_of(server.base_url), prompts(3), tmp_path / "c", cache=None)
        assert len(server.requests) == 7
    assert [a.text for a in second.answers[:3]] == [a.text for a in first.answers]
    assert {(a.source, a.cost) for a in second.answers[:3]} == {("cache", 0.0)}
    assert (second.session.totals.from_cache, second.session.totals.requests) == (3, 1)


@pytest.mark.parametrize("act", [refusal(), server_error(), answer("x", finish="length"), Act(b"<html>")])
def test_only_answers_are_cached(tmp_path: Path, act: Act) -> None:
    with MisbehavingServer(lambda _: act) as server:
        ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=AnswerCache(tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("*.json"))


def _other_text(entry: dict[str, Any]) -> None:
    entry["body"] = json.dumps(completion("poisoned"))


def _other_prompt(entry: dict[str, Any]) -> None:
    entry["request"]["messages"][1][1] = "another prompt"


def _not_an_answer(entry: dict[str, Any]) -> None:
    import hashlib

    entry["body"] = json.dumps(completion(None, refusal="no"))
    entry["body_sha256"] = hashlib.sha256(entry["body"].encode()).hexdigest()


def _other_version(entry: dict[str, Any]) -> None:
    entry["cache_version"] = 2


def _extra(entry: dict[str, Any]) -> None:
    entry["py/object"] = "os.system"


def _wrong_type(entry: dict[str, Any]) -> None:
    entry["request"] = [1]


@pytest.mark.parametrize("poison", [_other_text, _other_prompt, _not_an_answer, _other_version, _extra, _wrong_type])
def test_a_poisoned_entry_is_ignored_with_a_warning_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, poison: Callable[[dict[str, Any]], None]
) -> None:
    def change(raw: bytes) -> bytes:
        entry = json.loads(raw)
        poison(entry)
        return json.dumps(entry).encode()

    _replaced(tmp_path, caplog, change)


def _pickle(raw: bytes) -> bytes:
    return b"\x80\x04K\x01."


_DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda raw: raw[: len(raw) // 2], lambda raw: b"", _pickle, lambda raw: b"[" * 10_000,
    lambda raw: raw + b" " * (17 << 20),
]  # fmt: skip


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_entry_is_ignored_with_a_warning_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    _replaced(tmp_path, caplog, damage)


def _replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[bytes], bytes]) -> None:
    cache = AnswerCache(tmp_path / "cache")
    with MisbehavingServer() as server:
        ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=cache)
        (entry,) = (tmp_path / "cache").rglob("*.json")
        good = entry.read_bytes()
        entry.write_bytes(change(good))
        outcome = ask(client_of(server.base_url), prompts(1), tmp_path / "b", cache=cache)
        assert len(server.requests) == 2
    assert outcome.answer.source == "sent"
    assert outcome.answer.text == "words about a theme"
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1 and "is ignored" in warnings[0]
    assert json.loads(entry.read_bytes())["body"] == json.loads(good)["body"]


def test_an_alias_that_changed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = AnswerCache(tmp_path / "cache")
    with MisbehavingServer(lambda _: answer(model="gpt-test-1")) as server:
        ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=cache)
        server.script = lambda _: answer(model="gpt-test-2")
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path / "b", cache=cache)
    assert {a.model for a in outcome.answers} == {"gpt-test-1", "gpt-test-2"}
    assert len([r for r in caplog.records if "is answered by" in r.getMessage()]) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_entries_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with MisbehavingServer() as server:
            ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=AnswerCache(tmp_path / "cache"))
    finally:
        os.umask(before)
    (entry,) = (tmp_path / "cache").rglob("*.json")
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert not list((tmp_path / "cache").rglob(".tmp*"))


def test_a_cache_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    with MisbehavingServer() as server:
        outcome = ask(client_of(server.base_url), prompts(3), tmp_path / "a", cache=AnswerCache(tmp_path / "cache"))
    assert outcome.statuses == ["ok"] * 3
    assert len([r for r in caplog.records if "answers are not cached" in r.getMessage()]) == 1


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_SIGNATURES_CACHE", str(tmp_path))
    assert open_cache().folder == tmp_path / "llm"


def test_a_hostile_answer_is_stored_raw_and_capped(tmp_path: Path) -> None:
    """ESC, NUL, markup and 100 kB: raw in the journal and the answer, which ends at the limit of a stored text."""
    cache = AnswerCache(tmp_path / "cache")
    with MisbehavingServer(lambda _: hostile()) as server:
        first = ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=cache)
        second = ask(client_of(server.base_url), prompts(1), tmp_path / "b", cache=cache)
        third = ask(client_of(server.base_url), prompts(1), tmp_path / "a", cache=cache)
        assert len(server.requests) == 1
    assert {a.answer.text for a in (first, second, third)} == {HOSTILE[:MAX_TEXT]}
    (line,) = responses(tmp_path / "a")
    assert json.loads(json.loads(line)["body"])["choices"][0]["message"]["content"] == HOSTILE
    assert "\x1b" not in line and "\x00" not in line  # escaped by JSON
