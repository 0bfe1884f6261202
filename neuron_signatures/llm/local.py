"""A language model in this process: no server, no key, no network once its files are there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.llm.chat import Answer, ChatRequest, TokenProb
from neuron_signatures.llm.local_queue import BatchQueue
from neuron_signatures.models.spec import Dtype, ModelSpec
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError, shorten

if TYPE_CHECKING:
    from jaxtyping import Float32

    from neuron_signatures.models.chat.generation import Answered, Asked
    from neuron_signatures.models.chat.model import ChatModel
    from neuron_signatures.models.chat.prompt_logits import Places

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


class Continuation(NamedTuple):
    """A text after a prefix, and places in it whose predictions are wanted."""

    token_ids: tuple[int, ...]
    at: tuple[int, ...]


@dataclass(frozen=True)
class _Job:
    request: ChatRequest
    asked: Asked

    @property
    def n_tokens(self) -> int:
        return len(self.asked.token_ids)


@dataclass(frozen=True)
class _Reading:
    """Texts that are read instead of continued."""

    prefix: tuple[int, ...]
    texts: Sequence[Places]
    shared: int

    @property
    def n_tokens(self) -> int:
        return len(self.prefix)


@dataclass(frozen=True)
class _Done:
    """An answer, or the line of the error for which there is none."""

    answered: Answered | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read, or the error; neither if the client was closed before."""

    values: Sequence[np.ndarray] | None
    error: EnvironmentProblem | None = None


class LocalClient:
    """The chat client of a local model. Requests that wait at the same time are answered in batches.

    An answer depends on its request and the model, but for rounding (see `models.chat.generation`). `version` is the
    commit of the model, or a checksum of its weights. Loads the model: raises as `load_chat_model`.

    Unlike a server, it can also read the predictions inside given texts: `candidate_logprobs` and `token_losses`. They
    take token ids, read all texts of a call after the same prefix, and are not limited to the texts of a chat.
    """

    kind = "local"

    def __init__(self, spec: LocalSpec) -> None:
        from neuron_signatures.models.batching import BatchSize
        from neuron_signatures.models.chat.model import default_dtype, load_chat_model
        from neuron_signatures.models.chat.prompt_logits import PromptLogits
        from neuron_signatures.models.load import find_device

        if spec.batch_size < 1:
            raise UsageError(f"a batch size of {spec.batch_size}", where=f"model {spec.model}")
        dtype = spec.dtype or default_dtype(find_device(spec.device))
        self.model = spec.model
        self.chat_model: ChatModel = load_chat_model(ModelSpec(spec.model, dtype=dtype, device=spec.device))
        self.version = self.chat_model.version
        self._most = BatchSize(spec.batch_size)
        loaded = self.chat_model.loaded
        self.prompt_logits = PromptLogits(loaded.hf, loaded.device, BatchSize(spec.batch_size))
        self._queue: BatchQueue[_Job | _Reading, _Done | _Read] = BatchQueue(
            self._run_all, lambda: self._most.most, lambda job: job.n_tokens
        )

    async def chat(self, request: ChatRequest) -> Answer:
        """The answer. `too_long` if it does not end within `max_tokens` or the context."""
        from neuron_signatures.models.chat.template import Turn

        try:
            ids = self.chat_model.template.encode([Turn(m.role, m.content) for m in request.messages])
        except UsageError as e:
            return Answer("api_error", reason=str(e), model=self.answered_as, cost=0.0)
        room = request.max_tokens if self.chat_model.context is None else self.chat_model.context - len(ids)
        if room < 1:
            reason = f"the prompt has {len(ids)} tokens, the model's context {self.chat_model.context}"
            return Answer("too_long", reason=reason, model=self.answered_as, prompt_tokens=len(ids), cost=0.0)
        future: Future[_Done | _Read] = self._queue.put(_Job(request, self._asked(request, ids, room)))
        done = await asyncio.wrap_future(future)
        assert isinstance(done, _Done)
        return self._answer(len(ids), done)

    async def candidate_logprobs(
        self, prefix: Sequence[int], rows: Sequence[Continuation], candidates: Sequence[int], *, shared: int = 0
    ) -> list[Float32[np.ndarray, "place candidate"]]:
        """For each row the log-probability of each candidate token at each of its places.

        At a place the model predicts from everything before it, the prefix included; normalised over the whole
        vocabulary. The prefix is read once. It has at least one token; the first `shared` tokens of it are those that
        prefixes of other calls begin with too, and are read once for all of them. Values that are not finite are
        returned as they are. Raises `UsageError` for a row beyond the context (see `room_after`), and
        `EnvironmentProblem` for one that does not fit into memory.
        """
        from neuron_signatures.models.chat.prompt_logits import Places

        wanted = tuple(candidates)
        texts = [Places(row.token_ids, row.at, (wanted,) * len(row.at)) for row in rows]
        found = await self._read(prefix, texts, shared)
        return [values.reshape(len(row.at), len(wanted)) for values, row in zip(found, rows, strict=True)]

    async def token_losses(
        self, prefix: Sequence[int], rows: Sequence[tuple[int, ...]], *, shared: int = 0
    ) -> list[Float32[np.ndarray, " token"]]:
        """The negative log-probability, in nats, of each token of each row after the prefix.

        As `candidate_logprobs` in all else.
        """
        from neuron_signatures.models.chat.prompt_logits import Places

        texts = [Places(row, tuple(range(len(row))), tuple((i,) for i in row)) for row in rows]
        return [-values.reshape(-1) for values in await self._read(prefix, texts, shared)]

    def room_after(self, n_tokens: int) -> int | None:
        """How many tokens fit into the model's context after so many; None if it has no limit."""
        return None if self.chat_model.context is None else self.chat_model.context - n_tokens

    async def _read(self, prefix: Sequence[int], texts: Sequence[Places], shared: int) -> Sequence[np.ndarray]:
        if not texts:
            return []
        room = self.room_after(len(prefix))
        longest = max(len(text.token_ids) for text in texts)
        if room is not None and longest > room:
            what = f"a text of {len(prefix) + longest} tokens exceeds the context of {self.chat_model.context}"
            raise UsageError(what, where=f"model {self.model}")
        read = await asyncio.wrap_future(self._queue.put(_Reading(tuple(prefix), texts, shared)))
        assert isinstance(read, _Read)
        if read.error is not None:
            raise read.error
        if read.values is None:
            raise asyncio.CancelledError
        return read.values

    async def close(self) -> None:
        """Stop at the next token. Answers that are not complete get the status `api_error`."""
        await asyncio.to_thread(self._queue.close)

    @property
    def answered_as(self) -> str:
        """The name and version in its answers."""
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
            "api_error", reason=done.reason, model=self.answered_as, system_fingerprint=self._fingerprint,
            prompt_tokens=prompt_tokens, cost=0.0, seconds=done.seconds,
        )  # fmt: skip
        answered = done.answered
        if answered is None:
            return answer
        answer = replace(answer, completion_tokens=answered.n_generated)
        if answered.finish in ("not_finite", "stopped"):
            return replace(answer, reason=_REASONS[answered.finish])
        probs = tuple(
            tuple(TokenProb(self.chat_model.token(c.token_id), c.logprob) for c in candidates)
            for candidates in answered.candidates
        )
        answer = replace(answer, top_logprobs=probs or None)
        if answered.finish == "length":
            return replace(answer, status="too_long", reason=_REASONS["length"])
        return replace(answer, status="ok", text=self.chat_model.text(answered.token_ids))

    def _run_all(self, jobs: Sequence[_Job | _Reading]) -> list[_Done | _Read]:
        """Chats are answered in one batch; texts that are read are a batch by themselves."""
        done = iter(self._answer_all([job for job in jobs if isinstance(job, _Job)]))
        return [next(done) if isinstance(job, _Job) else self._read_here(job) for job in jobs]

    def _read_here(self, job: _Reading) -> _Read:
        from neuron_signatures.models.chat.prompt_logits import Stopped

        try:
            return _Read(
                self.prompt_logits.logprobs(job.prefix, job.texts, shared=job.shared, stop=self._queue.is_closed)
            )
        except EnvironmentProblem as e:
            return _Read(None, e)
        except Stopped:
            return _Read(None)

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
