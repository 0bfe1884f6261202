"""The real language model as a chat client: SmolLM2-135M-Instruct from its package (`make real`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from real_server import RealServer
from tiny_chat import Spec

from neuron_signatures.llm.chat import Answer, ChatRequest, Message
from neuron_signatures.llm.choose import LlmSpec, open_client
from neuron_signatures.llm.local import LocalClient

pytestmark = pytest.mark.real

QUESTIONS = (
    "What is the capital of France?", "Write one short sentence about cats.", "Name a colour.",
    "What is 2+2? Answer with a number.",
)  # fmt: skip


def request(question: str, temperature: float) -> ChatRequest:
    return ChatRequest((Message("user", question),), 60, temperature, 0)


def test_it_answers_loosely_and_the_same_in_a_batch_as_alone():
    client = LocalClient(Spec("smollm2", dtype="fp32"))
    requests = [request(q, t) for q in QUESTIONS for t in (0.0, 1.0)]

    async def run() -> tuple[list[Answer], list[Answer]]:
        together = list(await asyncio.gather(*map(client.chat, requests)))
        alone = [await client.chat(r) for r in requests]
        await client.close()
        return together, alone

    together, alone = (([replace(a, seconds=0.0) for a in answers]) for answers in asyncio.run(run()))
    assert together == alone
    assert together[0].model == "smollm2@gguf:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    greedy = together[::2]
    assert sum(a.status == "ok" for a in greedy) >= 3 and "Paris" in greedy[0].text


def test_a_server_of_another_project_answers_the_same():
    """`transformers serve` with the same weights in float32: equal texts at temperature 0, and counts of tokens."""
    requests = [request(q, 0.0) for q in QUESTIONS]
    sampled = [replace(request(QUESTIONS[1], 1.0), seed=seed) for seed in (1, 2)]

    async def ask(spec: LlmSpec, asked: list[ChatRequest]) -> list[Answer]:
        client = open_client(spec)
        answers = list(await asyncio.gather(*map(client.chat, asked)))
        await client.close()
        return answers

    with RealServer() as server:
        spec = LlmSpec("openai", server.model, base_url=server.base_url)
        served = asyncio.run(ask(spec, requests))
        texts = [a.text for a in asyncio.run(ask(spec, sampled))]
    ours = asyncio.run(ask(LlmSpec("local", "smollm2", device="cpu"), requests))
    assert [(a.status, a.text) for a in served] == [(a.status, a.text) for a in ours]
    assert sum(a.status == "ok" for a in served) >= 3 and texts[0] != texts[1]
    assert [(a.prompt_tokens, a.completion_tokens) for a in served] == [
        (a.prompt_tokens, a.completion_tokens) for a in ours
    ]
    assert served[0].model == "smollm2@main" and served[0].cost is None
