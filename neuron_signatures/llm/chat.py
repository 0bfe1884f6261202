"""The interface of all language models: a request of messages, and one answer with a status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from neuron_signatures.runs.llm.status import Status


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    content: str


class TokenProb(NamedTuple):
    """One candidate of the next token."""

    token: str
    logprob: float


@dataclass(frozen=True)
class ChatRequest:
    """What a model is asked. Two requests with the same fields are the same request, and are paid once.

    `seed` also tells samples of one prompt apart. `top_logprobs` asks for the candidates of each answered token.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    seed: int
    top_logprobs: int | None = None


@dataclass(frozen=True)
class Answer:
    """`text` is empty unless `status` is ok; then it is raw, as it came, and bounded in length."""

    status: Status
    text: str = ""
    reason: str = ""
    """One line without secrets, if the status is not ok."""
    model: str | None = None
    """As it was answered."""
    system_fingerprint: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    """US dollars; None where no price is known; 0 for a local model and for answers that were paid before."""
    seconds: float = 0.0
    source: Literal["sent", "journal", "cache"] = "sent"
    top_logprobs: tuple[tuple[TokenProb, ...], ...] | None = None
    """The candidates of each answered token, also of an answer that was cut at its limit."""


@runtime_checkable
class ChatClient(Protocol):
    """A language model. `kind` is openai, local or none; `model` is the name that is asked for."""

    kind: str
    model: str

    async def chat(self, request: ChatRequest) -> Answer:
        """The answer. Never raises for what a server or model does: that is a status."""
        ...

    async def close(self) -> None: ...
