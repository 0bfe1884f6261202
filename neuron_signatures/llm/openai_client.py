"""Chat over an OpenAI-compatible API, with `openai.AsyncOpenAI` as the transport.

Retries, waits and limits are our own, because the library retries without a bound on the waits, and hides what it sent.
Raw responses go to a `Watch` before they are parsed, so that a paid answer is stored whatever happens next.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx2
import openai

from neuron_signatures.llm.asking.raw_client import Watch
from neuron_signatures.llm.chat import Answer, ChatRequest
from neuron_signatures.llm.endpoint import Endpoint
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.llm.wire.http import BodyTooLargeError, BoundedClient, bearer
from neuron_signatures.llm.wire.pace import Pace
from neuron_signatures.llm.wire.reply import Reply, parse_reply
from neuron_signatures.llm.wire.retries import RetryPolicy, retry_after
from neuron_signatures.llm.wire.secret import Secret
from neuron_signatures.runs.files import human_seconds

MAX_ERROR_BODY: Final = 20_000
"""Characters of an error's body that are kept."""
_KEY_STATUSES: Final = (401, 403)  # their bodies can repeat the key in part

FAILED: Final = ("api_error", "timed_out")
"""Statuses after which the same request may succeed."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class _OnLoop:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    api: openai.AsyncOpenAI
    slots: asyncio.Semaphore
    halted: asyncio.Event


class OpenAIClient:
    """A server's model. At most `concurrency` requests are open at the same time; `timeout` is for one HTTP request."""

    kind = "openai"

    def __init__(
        self,
        model: str,
        endpoint: Endpoint,
        key: Secret,
        *,
        concurrency: int,
        timeout: float,
        retries: RetryPolicy | None = None,
        pace: Pace | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.concurrency = concurrency
        self._key, self._timeout, self._sleep = key, timeout, sleep
        self._retries = retries or RetryPolicy()
        self._pace = pace or Pace(None, None)
        self._stop: StopAsking | None = None
        self._on_loop: _OnLoop | None = None

    def __repr__(self) -> str:
        return f"OpenAIClient({self.model!r}, {self.base_url!r})"

    @property
    def base_url(self) -> str:
        return self.endpoint.base_url

    async def chat(self, request: ChatRequest) -> Answer:
        """The answer, without a session: nothing is stored."""
        try:
            return await self.send(request, None)
        except StopAsking as e:
            return Answer(e.status, reason=e.line())

    async def send(self, request: ChatRequest, watch: Watch | None) -> Answer:
        """The answer after as many attempts as needed and allowed. Raises `StopAsking`."""
        body = self.body_of(request)
        tokens = estimated_tokens(request.messages) + request.max_tokens
        state = self._state()
        async with state.slots:
            attempt = 0
            while True:
                attempt += 1
                await self._pause(self._pace.claim(tokens))
                if watch is not None:
                    await watch.before_send()
                reply = await self._post(state.api, body)
                answer = self._read(reply, watch)
                self._halt_if_hopeless(reply, answer)
                is_final = answer.status not in FAILED or not self._retries.wants_more(reply, attempt)
                if is_final or self._stop is not None:
                    return _with_attempts(answer, attempt)
                delay = self._retries.delay(reply, attempt)
                if reply.retry_after is not None:
                    self._pace.pause(delay)
                await self._pause(delay)

    def parse(self, reply: Reply) -> Answer:
        """The answer in a raw response of this server."""
        return replace(parse_reply(reply, self._key.redact), seconds=reply.seconds)

    def halt(self, stop: StopAsking) -> None:
        """End all waits: requests that are not sent yet raise `stop`, those under way bring their answers."""
        self._stop = self._stop or stop
        if self._on_loop is not None:
            self._on_loop.halted.set()

    async def close(self) -> None:
        if self._on_loop is not None and self._on_loop.loop is asyncio.get_running_loop():
            await self._on_loop.api.close()
        self._on_loop = None

    def _read(self, reply: Reply, watch: Watch | None) -> Answer:
        if watch is None:
            return self.parse(reply)
        watch.received(reply)
        answer = self.parse(reply)
        watch.parsed(reply, answer)
        return answer

    async def _post(self, api: openai.AsyncOpenAI, body: bytes) -> Reply:
        """One HTTP request."""
        start = time.perf_counter()
        lost: Any = ""
        try:
            async with asyncio.timeout(self._timeout):
                response = await api.post("/chat/completions", cast_to=httpx2.Response, content=body)
        except openai.APIStatusError as e:
            response = e.response
        except (openai.APITimeoutError, TimeoutError):
            lost = "timed_out"
        except openai.APIConnectionError as e:
            lost = "too_large" if isinstance(e.__cause__, BodyTooLargeError) else "no_connection"
        seconds = time.perf_counter() - start
        return Reply(0, "", seconds, lost) if lost else self._reply(response, seconds)

    def _reply(self, response: httpx2.Response, seconds: float) -> Reply:
        status = response.status_code
        body = "" if status in _KEY_STATUSES else self._key.redact(response.content.decode("utf-8", "replace"))
        if status == 200:
            return Reply(status, body, seconds)
        return Reply(status, body[:MAX_ERROR_BODY], seconds, retry_after=retry_after(response.headers))

    def _halt_if_hopeless(self, reply: Reply, answer: Answer) -> None:
        """Raise `StopAsking`, here and in all other requests, if no request can succeed soon."""
        stop = None
        if answer.status == "over_budget":
            next_step = "Raise it at the provider, then run again; what is answered is kept"
            stop = StopAsking(answer.reason, next_step=next_step)
        elif reply.http_status == 401:
            what = f"{self.endpoint.host} does not accept the key (HTTP 401)"
            next_step = "Set the environment variable of the key, then run again"
            stop = StopAsking(what, next_step=next_step, status="api_error")
        elif answer.status in FAILED and (reply.retry_after or 0) > self._retries.retry_after_cap:
            what = (
                f"{self.endpoint.host} asks to wait {human_seconds(reply.retry_after or 0)} (HTTP {reply.http_status})"
            )
            stop = StopAsking(what, next_step="Run again then; what is answered is kept")
        if stop is not None:
            self.halt(stop)
            raise stop

    def _raise_if_halted(self) -> None:
        if self._stop is not None:
            raise self._stop

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until all asking ends."""
        self._raise_if_halted()
        if seconds <= 0:
            return
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._state().halted.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._raise_if_halted()

    def _state(self) -> _OnLoop:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._on_loop is None or self._on_loop.loop is not loop:
            http = BoundedClient(self.endpoint, bearer(self._key), timeout=self._timeout, connections=self.concurrency)
            api = openai.AsyncOpenAI(
                api_key=self._key.reveal(), base_url=self.base_url, max_retries=0, http_client=http
            )  # fmt: skip
            self._on_loop = _OnLoop(loop, api, asyncio.Semaphore(self.concurrency), asyncio.Event())
        return self._on_loop

    def body_of(self, request: ChatRequest) -> bytes:
        """The request as JSON. OpenAI's newer models refuse `max_tokens`, and other servers know only that."""
        limit = "max_completion_tokens" if self.endpoint.is_openai else "max_tokens"
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in request.messages],
            limit: request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.top_logprobs is not None:
            fields |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def _with_attempts(answer: Answer, attempt: int) -> Answer:
    if attempt == 1 or answer.status not in FAILED:
        return answer
    return replace(answer, reason=f"{answer.reason} ({attempt} attempts)")
