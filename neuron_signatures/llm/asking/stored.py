"""Answers that were paid before: in the run's journal, and in the user's cache."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.llm.asking.accounts import ANSWERED
from neuron_signatures.llm.asking.raw_client import RawClient
from neuron_signatures.llm.cache import AnswerCache
from neuron_signatures.llm.chat import Answer, ChatClient
from neuron_signatures.llm.wire.reply import Lost, Reply
from neuron_signatures.runs.llm.journal import Journal, Received

log = logging.getLogger(__name__)

_ANSWER = TypeAdapter(Answer)
_LEAST_LOGPROB = -1e9  # in place of minus infinity, which JSON has not


def find_stored(client: ChatClient, journal: Journal, cache: AnswerCache | None, key: str, skip: int) -> Answer | None:
    """The answer to the request of this key that was paid before, at no cost now; None if there is none.

    The first `skip` ones in the journal are passed over, and then the cache is not read.
    """
    answers = (answer_of(received, client) for received in journal.answered(key))
    wanted = [answer for answer in answers if answer is not None and answer.status in ANSWERED][skip:]
    if wanted:
        return replace(wanted[0], cost=0.0, source="journal")
    body = cache.get(key) if cache is not None and not skip else None
    if body is None or not isinstance(client, RawClient):
        return None
    answer = client.parse(Reply(200, body, 0.0))
    if answer.status != "ok":
        log.warning("cache entry %s.json is ignored: it holds no answer", key)
        return None
    return replace(answer, cost=0.0, source="cache")


def answer_of(received: Received, client: ChatClient) -> Answer | None:
    """The answer in a line of the journal; None if it is of another kind of client, or damaged."""
    if received.answer is not None:
        with contextlib.suppress(ValidationError):
            return _ANSWER.validate_json(json.dumps(received.answer))
        return None
    if not isinstance(client, RawClient):
        return None
    return client.parse(Reply(received.http_status, received.body, received.seconds, _lost(received)))


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON values, as `answer_of` reads it."""
    fields = {f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}
    if answer.top_logprobs is not None:
        fields["top_logprobs"] = [
            [(p.token, max(p.logprob, _LEAST_LOGPROB)) for p in candidates] for candidates in answer.top_logprobs
        ]
    return fields


def _lost(received: Received) -> Lost:
    match received.lost:
        case "" | "timed_out" | "too_large":
            return received.lost
        case _:
            return "no_connection"
