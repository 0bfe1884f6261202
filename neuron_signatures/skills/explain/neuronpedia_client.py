"""Neuronpedia's API: the explanations of one feature per request, `GET /api/feature/{model}/{layer-source}/{index}`.

Nothing is sent but the model, the source and the index, and `NEURONPEDIA_API_KEY` if it is set (some limits are higher
with a key). The answer is read as the data of strangers: bounded, typed, and never an instruction. The transport, its
retries and its waits are those of the language models: no redirects, bounded bodies, `Retry-After` up to a cap.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx2

from neuron_signatures.llm.endpoint import Endpoint, open_endpoint
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.wire.http import BodyTooLargeError, BoundedClient
from neuron_signatures.llm.wire.pace import Pace
from neuron_signatures.llm.wire.reply import Lost, Reply, load
from neuron_signatures.llm.wire.retries import RetryPolicy, retry_after
from neuron_signatures.llm.wire.secret import Secret, checked_key
from neuron_signatures.runs.files import human_seconds
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.skills.explain.neuronpedia_cache import FeatureAnswer, FeatureExplanation

URL: Final = "https://www.neuronpedia.org"
KEY_VARIABLE: Final = "NEURONPEDIA_API_KEY"
MAX_TEXT: Final = 20_000
_MOST: Final = 100
"""Explanations of a feature that are read."""
_SCORES: Final = ("value", "score")

Sleep = Callable[[float], Awaitable[None]]


class FeatureFailed(Exception):
    """No answer about this feature: `status` and `reason`."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def open_neuronpedia(base_url: str) -> tuple[Endpoint, Secret | None]:
    """The address, and the key if there is one. Raises `UsageError` for an address that is not allowed."""
    endpoint = open_endpoint(base_url, flag="--neuronpedia_url")
    value = os.environ.get(KEY_VARIABLE, "")
    return endpoint, checked_key(value, KEY_VARIABLE) if value else None


def feature_url(base_url: str, model: str, source: str, index: int) -> str:
    """The names are checked patterns of the flags: they need no escapes."""
    return f"{base_url}/api/feature/{model}/{source}/{index}"


class NeuronpediaClient:
    """Asks for features, `per_minute` at most. Raises `StopAsking` where asking again cannot help soon."""

    def __init__(
        self, endpoint: Endpoint, key: Secret | None, *, per_minute: int, timeout: float,
        retries: RetryPolicy | None = None, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.n_requests = 0
        self._key = key
        self._pace = Pace(per_minute, None)
        self._timeout, self._retries, self._sleep = timeout, retries or RetryPolicy(), sleep
        headers = {} if key is None else {"x-api-key": key.reveal()}
        self._http = BoundedClient(endpoint, headers, timeout=timeout, connections=4)

    async def feature(self, url: str) -> FeatureAnswer:
        """The answer about a feature. Raises `FeatureFailed`, and `StopAsking`."""
        attempt = 0
        while True:
            attempt += 1
            await self._sleep(self._pace.claim(0))
            reply = await self._get(url)
            self._halt_if_hopeless(reply)
            if reply.http_status in (200, 404):
                answer = self._answer(url, reply)
                if answer is not None:
                    return answer
            if not self._retries.wants_more(reply, attempt):
                raise self._failed(reply, attempt)
            delay = self._retries.delay(reply, attempt)
            if reply.retry_after is not None:
                self._pace.pause(delay)
            await self._sleep(delay)

    async def close(self) -> None:
        await self._http.aclose()

    async def _get(self, url: str) -> Reply:
        """One HTTP request."""
        start = time.perf_counter()
        self.n_requests += 1
        lost: Lost = ""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.get(url)
        except (httpx2.TimeoutException, TimeoutError):
            lost = "timed_out"
        except BodyTooLargeError:
            lost = "too_large"
        except (httpx2.HTTPError, httpx2.InvalidURL):
            lost = "no_connection"
        seconds = time.perf_counter() - start
        if lost:
            return Reply(0, "", seconds, lost)
        body = self._redact(response.content.decode("utf-8", "replace"))
        wait = None if response.status_code == 200 else retry_after(response.headers)
        return Reply(response.status_code, body, seconds, retry_after=wait)

    def _answer(self, url: str, reply: Reply) -> FeatureAnswer | None:
        """None for a body that is not a feature's."""
        sha256 = hashlib.sha256(reply.body.encode()).hexdigest()
        common: dict[str, Any] = {"url": url, "retrieved_at": now_utc(), "body_sha256": sha256}
        if reply.http_status == 404:
            return FeatureAnswer(**common, status="none", reason="there is no such feature (HTTP 404)", explanations=[])
        value = load(reply.body)
        if value is None and reply.body.strip() == "null":
            return FeatureAnswer(**common, status="none", reason="there is no such feature", explanations=[])
        if not isinstance(value, dict) or not isinstance(value.get("explanations"), list):
            return None
        found = [e for e in map(_explanation, value["explanations"][:_MOST]) if e is not None]
        if not found:
            return FeatureAnswer(**common, status="none", reason="the feature has no explanation", explanations=[])
        return FeatureAnswer(**common, status="ok", explanations=found)

    def _halt_if_hopeless(self, reply: Reply) -> None:
        host = self.endpoint.host
        if reply.http_status in (401, 403):
            what = f"{host} refuses the request (HTTP {reply.http_status})"
            raise StopAsking(what, next_step=f"Check the environment variable {KEY_VARIABLE}, then run again")
        if (wait := reply.retry_after or 0) > self._retries.retry_after_cap:
            what = f"{host} asks to wait {human_seconds(wait)} (HTTP {reply.http_status})"
            raise StopAsking(what, next_step="Run again then; what is answered is kept")

    def _failed(self, reply: Reply, attempt: int) -> FeatureFailed:
        times = f" ({attempt} attempts)" if attempt > 1 else ""
        if reply.lost == "timed_out":
            return FeatureFailed("timed_out", f"no answer within the time limit{times}")
        if reply.lost:
            reasons = {"too_large": "the answer is too large or compressed"}
            return FeatureFailed("api_error", f"{reasons.get(reply.lost, 'the connection failed or was cut')}{times}")
        if reply.http_status == 200:
            return FeatureFailed("unparsable", f"the answer is not that of a feature{times}")
        if 300 <= reply.http_status < 400:
            return FeatureFailed("api_error", f"the server redirects elsewhere (HTTP {reply.http_status})")
        return FeatureFailed("api_error", f"HTTP {reply.http_status}{times}")

    def _redact(self, text: str) -> str:
        return text if self._key is None else self._key.redact(text)


def _explanation(value: Any) -> FeatureExplanation | None:
    """None for an entry without a text. Fields of another type are left out."""
    if not isinstance(value, dict) or not isinstance(value.get("description"), str):
        return None
    text = encodable(value["description"])[:MAX_TEXT]
    if not text.strip():
        return None
    by = " ".join(_text(value.get(name)) for name in ("typeName", "explanationModelName")).strip()
    score, name = _score(value.get("scores"))
    return FeatureExplanation(text=text, by=by, score=score, score_name=name)


def _score(value: Any) -> tuple[float | None, str]:
    """The first score with a number."""
    for one in value if isinstance(value, list) else ():
        for key in _SCORES:
            number = one.get(key) if isinstance(one, dict) else None
            if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e99:
                kind = one.get("explanationScoreTypeName") or one.get("explanationScoreType")
                return float(number), _text(kind) or "neuronpedia"
    return None, ""


def _text(value: Any) -> str:
    return encodable(value)[:500] if isinstance(value, str) else ""
