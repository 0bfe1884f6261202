"""A language model in this process: no server, no key, no network once its files are there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from neuron_signatures.llm.chat import Answer, ChatRequest, TokenProb
from neuron_signatures.llm.local_queue import BatchQueue
from neuron_signatures.models.spec import Dtype, ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError, shorten
from neuron_signatures.runs.llm.status import Status

if TYPE_CHECKING:
    from neuron_signatures.models.chat.generation import Answered, Asked
    from neuron_signatures.models.chat.model import ChatModel

MAX_NAME = 120
"""Characters of a model's name in an answer."""
_REASONS = {
    "length": "the answer was cut at its limit of tokens (--max_tokens)",
    "not_finite": "the model's logits are not finite numbers; use another dtype",
    "stopped": "the model was closed before the answer was complete",
}


@runtime_checkable
class LocalSpec(Protocol):
    """The part of `LlmSpec` that a local model needs.

    `model` is what `--model_name` takes. `dtype` is None for bf16 on a GPU and fp32 elsewhere.
    """

    @property
    def model(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> Dtype | None: ...
    @property
    def batch_size(self) -> int: ...


@dataclass(frozen=True)
class _Job:
    request: ChatRequest
    asked: Asked


@dataclass(frozen=True)
class _Done:
    """An answer, or the line of the error for which there is none."""

    answered: Answered | None
    seconds: float
    reason: str = ""


class LocalClient:
    """The chat client of a local model. Requests that wait at the same time are answered in batches.

    An answer depends on its request and the model, but for rounding (see `models.chat.generation`). `version` is the
    commit of the model, or a checksum of its weights. Loads the model: raises as `load_chat_model`.
    """

    kind = "local"

    def __init__(self, spec: LocalSpec) -> None:
        from neuron_signatures.models.batching import BatchSize
        from neuron_signatures.models.chat.model import default_dtype, load_chat_model
        from neuron_signatures.models.load import find_device

        if spec.batch_size < 1:
            raise UsageError(f"a batch size of {spec.batch_size}", where=f"model {spec.model}")
        dtype = spec.dtype or default_dtype(find_device(spec.device))
        self.model = spec.model
        self.chat_model: ChatModel = load_chat_model(ModelSpec(spec.model, dtype=dtype, device=spec.device))
        self.version = self.chat_model.version
        self._most = BatchSize(spec.batch_size)
        self._queue: BatchQueue[_Job, _Done] = BatchQueue(
            self._answer_all, lambda: self._most.most, lambda job: len(job.asked.token_ids)
        )

    async def chat(self, request: ChatRequest) -> Answer:
        """The answer. `too_long` if it does not end within `max_tokens` or the context."""
        from neuron_signatures.models.chat.template import Turn

        try:
            ids = self.chat_model.template.encode([Turn(m.role, m.content) for m in request.messages])
        except UsageError as e:
            return Answer("api_error", reason=str(e), model=self._name, cost=0.0)
        room = request.max_tokens if self.chat_model.context is None else self.chat_model.context - len(ids)
        if room < 1:
            reason = f"the prompt has {len(ids)} tokens, the model's context {self.chat_model.context}"
            return Answer("too_long", reason=reason, model=self._name, prompt_tokens=len(ids), cost=0.0)
        future: Future[_Done] = self._queue.put(_Job(request, self._asked(request, ids, room)))
        return self._answer(len(ids), await asyncio.wrap_future(future))

    async def close(self) -> None:
        """Stop at the next token. Answers that are not complete get the status `api_error`."""
        await asyncio.to_thread(self._queue.close)

    @property
    def _name(self) -> str:
        return f"{shorten(self.model, MAX_NAME)}@{self.version}"

    @property
    def _fingerprint(self) -> str:
        """What else an answer depends on in its last digits."""
        loaded = self.chat_model.loaded
        return f"{str(loaded.hf.dtype).removeprefix('torch.')} {loaded.device.type} {loaded.attn_implementation}"

    def _asked(self, request: ChatRequest, ids: list[int], room: int) -> Asked:
        from neuron_signatures.models.chat.generation import Asked

        return Asked(
            tuple(ids), min(request.max_tokens, room), request.temperature, request.seed, request.top_logprobs or 0
        )

    def _answer(self, prompt_tokens: int, done: _Done) -> Answer:
        answer = Answer(
            "api_error", reason=done.reason, model=self._name, system_fingerprint=self._fingerprint,
            prompt_tokens=prompt_tokens, cost=0.0, seconds=done.seconds,
        )  # fmt: skip
        answered = done.answered
        if answered is None:
            return answer
        answer = replace(answer, completion_tokens=answered.n_generated)
        if answered.finish != "ended":
            status: Status = "too_long" if answered.finish == "length" else "api_error"
            return replace(answer, status=status, reason=_REASONS[answered.finish])
        probs = tuple(
            tuple(TokenProb(self.chat_model.token(c.token_id), c.logprob) for c in candidates)
            for candidates in answered.candidates
        )
        return replace(answer, status="ok", text=self.chat_model.text(answered.token_ids), top_logprobs=probs or None)

    def _answer_all(self, jobs: Sequence[_Job]) -> list[_Done]:
        """A result for each job. When memory runs out the batch is halved; a prompt that does not fit alone fails."""
        from neuron_signatures.models.batching import Work, run_in_halves

        def run(part: Sequence[int]) -> list[_Done]:
            start = time.monotonic()
            found = self.chat_model.generate([jobs[i].asked for i in part], stop=self._queue.is_closed)
            share = (time.monotonic() - start) / len(part)
            return [_Done(answered, share) for answered in found]

        def work(i: int) -> Work:
            where = f"model {self.model}"
            return Work("an answer", where, "a shorter prompt or another --device", len(jobs[i].asked.token_ids))

        done: list[_Done] = []
        while len(done) < len(jobs):
            try:
                for part in run_in_halves(
                    run, range(len(done), len(jobs)), size=self._most, unit="requests", work=work
                ):
                    done += part
            except EnvironmentProblem as e:  # the first of those that are left does not fit
                done.append(_Done(None, 0.0, str(e)))
        return done
