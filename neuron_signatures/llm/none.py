"""No language model: for explainers and scorers that need none."""

from __future__ import annotations

from neuron_signatures.llm.chat import Answer, ChatRequest


class NoClient:
    """Answers every request with an error."""

    kind = "none"
    model = "none"

    async def chat(self, request: ChatRequest) -> Answer:
        return Answer("api_error", reason="there is no language model")

    async def close(self) -> None: ...
