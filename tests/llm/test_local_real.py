"""The real language model as a chat client: SmolLM2-135M-Instruct from its package (`make real`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tiny_chat import Spec

from neuron_signatures.llm.chat import Answer, ChatRequest, Message
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
