"""The chat client of a local model: statuses, counts, batches, memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from short_of_memory import ERRORS, short_of_memory
from tiny_chat import Spec, make_chat_model

from neuron_signatures.llm.chat import Answer, ChatClient, ChatRequest, Message
from neuron_signatures.llm.local import Continuation, LocalClient
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

WORDS = ("the capital", "Austin", "in the", "Dallas and Austin is on the")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("chat"))


def client(folder, **changes: Any) -> LocalClient:
    return LocalClient(Spec(str(folder), **changes))


def request(text: str, *, max_tokens: int = 20, temperature: float = 1.0, seed: int = 0, **more: Any) -> ChatRequest:
    return ChatRequest((Message("user", text),), max_tokens, temperature, seed, **more)


REQUESTS = [request(w, temperature=t, seed=s) for w in WORDS for t in (0.0, 1.0) for s in range(3)]


def ask(of: LocalClient, requests: Sequence[ChatRequest], *, one_by_one: bool = False) -> list[Answer]:
    async def run() -> list[Answer]:
        if one_by_one:
            answers = [await of.chat(r) for r in requests]
        else:
            answers = list(await asyncio.gather(*map(of.chat, requests)))
        await of.close()
        return answers

    return asyncio.run(run())


def untimed(answers: Sequence[Answer]) -> list[Answer]:
    return [replace(a, seconds=0.0) for a in answers]


def test_an_answer_depends_on_its_request_alone(folder):
    together = ask(client(folder, batch_size=5), REQUESTS)
    assert untimed(together) == untimed(ask(client(folder), REQUESTS, one_by_one=True))
    assert untimed(together) == untimed(ask(client(folder, batch_size=64), REQUESTS[::-1]))[::-1]
    assert {a.status for a in together} == {"ok", "too_long"}
    assert len({a.text for a in together}) > 5


def test_what_an_answer_says(folder):
    of = client(folder)
    assert isinstance(of, ChatClient) and (of.kind, of.model) == ("local", str(folder))
    answers = ask(of, REQUESTS)
    ok = next(a for a in answers if a.status == "ok" and a.text)
    assert ok.model.endswith(f"@{of.version}") and ok.system_fingerprint == "float32 cpu sdpa"
    assert ok.cost == 0 and ok.seconds > 0 and ok.source == "sent" and ok.reason == ""
    assert 0 < ok.completion_tokens <= 20 and ok.prompt_tokens > 5


def test_an_answer_that_is_cut_is_too_long_and_has_no_text(folder):
    found = ask(client(folder), [request("the", seed=seed, max_tokens=40) for seed in range(8)])
    seed, whole = next((s, a) for s, a in enumerate(found) if a.status == "ok" and a.completion_tokens > 2)
    cut = ask(client(folder), [request("the", seed=seed, max_tokens=whole.completion_tokens - 1)])[0]
    assert (cut.status, cut.text, cut.completion_tokens) == ("too_long", "", whole.completion_tokens - 1)
    assert "limit" in cut.reason


def test_prompts_at_and_beyond_the_context(folder):
    """The context of the tiny model is 64 tokens; an answer never goes beyond it."""
    found = ask(client(folder), [request("x" * n, max_tokens=500, temperature=3.0, seed=n) for n in range(30, 80)])
    beyond = [a for a in found if a.prompt_tokens >= 64]
    assert beyond and {a.status for a in beyond} == {"too_long"}
    assert "context 64" in beyond[0].reason and beyond[0].completion_tokens is None
    assert all(a.prompt_tokens + a.completion_tokens <= 65 for a in found if a not in beyond)  # 64 and an end token


def test_candidates_of_each_token(folder):
    answers = ask(client(folder), [request(w, temperature=0.0, top_logprobs=3) for w in WORDS])
    ok = next(a for a in answers if a.text)
    assert ok.text.strip().startswith(ok.top_logprobs[0][0].token.strip())
    assert all(len(c) == 3 and c[0].logprob > c[1].logprob > c[2].logprob for c in ok.top_logprobs)
    assert ask(client(folder), [request("the")])[0].top_logprobs is None


def test_candidates_of_a_cut_answer_are_kept(folder):
    found = ask(client(folder), [request(w, max_tokens=1, top_logprobs=3) for w in WORDS])
    cut = [a for a in found if a.status == "too_long"]
    assert cut and all(not a.text and len(a.top_logprobs) == 1 and len(a.top_logprobs[0]) == 3 for a in cut)


def test_a_model_without_a_chat_template(tmp_path):
    with pytest.raises(UsageError, match="no chat template"):
        client(make_chat_model(tmp_path, template=None))


def test_messages_that_the_template_rejects(tmp_path):
    folder = make_chat_model(
        tmp_path, template="{% if messages[0].content == 'no' %}{{ raise_exception('no!') }}{% endif %}hi"
    )
    found = ask(client(folder), [request("no"), request("yes")])
    assert found[0].status == "api_error" and "no!" in found[0].reason and found[1].status != "api_error"


@pytest.mark.parametrize("error", list(ERRORS))
def test_out_of_memory_halves_the_batch(folder, error, caplog):
    of = client(folder, batch_size=8)
    with short_of_memory(of.chat_model.loaded.hf, 2, error=ERRORS[error]):
        found = ask(of, REQUESTS[:8])
    assert untimed(found) == untimed(ask(client(folder), REQUESTS[:8]))
    assert "8 requests in a batch; going on with 4" in caplog.text and "going on with 2" in caplog.text


def test_a_request_that_does_not_fit_alone_fails_alone(folder, monkeypatch):
    of = client(folder)
    generate = of.chat_model.generate
    longest = max(REQUESTS, key=lambda r: len(r.messages[0].content))

    def scarce(asked, **kwargs):
        if max(len(a.token_ids) for a in asked) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(asked, **kwargs)

    of.chat_model = Scarce(of.chat_model, scarce)
    found = ask(of, [REQUESTS[0], longest, REQUESTS[1]])
    assert [a.status == "api_error" for a in found] == [False, True, False]
    assert "out of memory in an answer" in found[1].reason and "CPU" not in found[1].text


class Scarce:
    """A chat model with another `generate`."""

    def __init__(self, chat, generate) -> None:
        self._chat, self.generate = chat, generate

    def __getattr__(self, name):
        return getattr(self._chat, name)


def test_logits_that_are_not_finite_are_an_error_not_an_answer(folder):
    of = client(folder)
    with torch.no_grad():
        of.chat_model.loaded.hf.lm_head.weight.fill_(float("nan"))
    found = ask(of, [request("the")])[0]
    assert (found.status, found.text) == ("api_error", "") and "not finite" in found.reason


def test_closing_stops_at_the_next_token(folder):
    of = client(folder, batch_size=1)
    started = threading.Event()

    async def run() -> list[Answer | BaseException]:
        generate = of.chat_model.generate

        def slow(asked, *, stop):
            started.set()
            while not stop():
                pass
            return generate(asked, stop=stop)

        of.chat_model = Scarce(of.chat_model, slow)
        tasks = [asyncio.create_task(of.chat(request("the", seed=i))) for i in range(3)]
        await asyncio.to_thread(started.wait, 20)
        await of.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(run())
    assert isinstance(found[0], Answer) and found[0].status == "api_error" and "closed" in found[0].reason
    assert all(isinstance(f, asyncio.CancelledError) for f in found[1:])


def read(of: LocalClient, *calls: Any) -> list[Any]:
    """The results of all calls, asked at once."""

    async def run() -> list[Any]:
        found = await asyncio.gather(*(call(of) for call in calls), return_exceptions=True)
        await of.close()
        return list(found)

    return asyncio.run(run())


PREFIX, ROWS = (5, 9, 4, 7), [(8, 2, 41), (30,), (), (6, 6, 90, 12, 77)]


def logprobs(of: LocalClient, row: tuple[int, ...]) -> torch.Tensor:
    """By a plain forward pass; at each place of the row."""
    with torch.inference_mode():
        out = of.chat_model.loaded.hf(torch.tensor([[*PREFIX, *row]]), use_cache=False)
    return out.logits[0, len(PREFIX) - 1 : -1].log_softmax(-1)


def test_losses_and_candidates_are_those_of_plain_forward_passes(folder):
    of = client(folder)
    rows = [Continuation(row, tuple(range(len(row)))[::-1]) for row in ROWS]
    losses, candidates, chat = read(
        of, lambda c: c.token_losses(PREFIX, ROWS), lambda c: c.candidate_logprobs(PREFIX, rows, [3, 50], shared=2),
        lambda c: c.chat(REQUESTS[0]),
    )  # fmt: skip
    assert chat.status in ("ok", "too_long") and chat.prompt_tokens > 0
    assert [v.shape for v in losses] == [(3,), (1,), (0,), (5,)]
    assert [v.shape for v in candidates] == [(3, 2), (1, 2), (0, 2), (5, 2)]
    for row, loss, values in zip(ROWS, losses, candidates, strict=True):
        expected = logprobs(of, row)
        assert loss.tolist() == pytest.approx([-float(expected[i, t]) for i, t in enumerate(row)], abs=1e-4)
        assert values[::-1].tolist() == [pytest.approx(e, abs=1e-4) for e in expected[:, [3, 50]].tolist()]


def test_texts_beyond_the_context_are_refused(folder):
    of = client(folder)
    room = of.room_after(len(PREFIX))
    assert room == 60
    fits, beyond = read(
        of, lambda c: c.token_losses(PREFIX, [(7,) * room]), lambda c: c.token_losses(PREFIX, [(7,), (7,) * (room + 1)])
    )
    assert len(fits[0]) == room
    assert isinstance(beyond, UsageError) and "65 tokens exceeds the context of 64" in str(beyond)


def test_reading_that_does_not_fit_into_memory_fails_alone(folder):
    of = client(folder)
    with short_of_memory(of.chat_model.loaded.hf, 0):
        found = read(of, lambda c: c.token_losses(PREFIX, ROWS), lambda c: c.chat(REQUESTS[0]))
    assert isinstance(found[0], EnvironmentProblem) and "out of memory" in str(found[0])
    assert found[1].status == "api_error"


def test_closing_ends_reading_before_the_next_pass(folder):
    of = client(folder, batch_size=1)
    started, closed = threading.Event(), threading.Event()
    handle = of.chat_model.loaded.hf.get_output_embeddings().register_forward_hook(
        lambda *_: (started.set(), closed.wait(20), None)[2]
    )

    async def run() -> Any:
        reading = asyncio.create_task(of.token_losses(PREFIX, ROWS))
        await asyncio.to_thread(started.wait, 20)
        closing = asyncio.create_task(of.close())
        while not of._queue.is_closed():
            await asyncio.sleep(0.001)
        closed.set()
        await closing
        return (await asyncio.gather(reading, return_exceptions=True))[0]

    assert isinstance(asyncio.run(run()), asyncio.CancelledError)
    handle.remove()
