"""The client of a server as a session sees it: raw responses are handed over before they are parsed."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from neuron_signatures.llm.chat import Answer, ChatClient, ChatRequest
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.wire.reply import Reply


@runtime_checkable
class Watch(Protocol):
    """Who follows the HTTP requests of one chat request."""

    async def before_send(self) -> None:
        """Called before each HTTP request. Raises `StopAsking` if a limit would be passed."""

    def received(self, reply: Reply) -> None:
        """Called with each raw response before it is parsed, and with each failed attempt."""

    def parsed(self, reply: Reply, answer: Answer) -> None:
        """Called next, with what the response says."""


@runtime_checkable
class RawClient(Protocol):
    """A client of a server."""

    model: str

    @property
    def base_url(self) -> str: ...

    async def send(self, request: ChatRequest, watch: Watch | None) -> Answer:
        """The answer. Raises `StopAsking`."""
        ...

    def parse(self, reply: Reply) -> Answer:
        """The answer in a raw response of this server."""
        ...

    def halt(self, stop: StopAsking) -> None:
        """End all waits: requests that are not sent yet raise `stop`, those under way bring their answers."""


@runtime_checkable
class _Versioned(Protocol):
    version: str


def origin_of(client: ChatClient) -> str:
    """Where answers come from: the address of a server, or the kind and version of a model in this process."""
    if isinstance(client, RawClient):
        return client.base_url
    return f"{client.kind}:{client.version}" if isinstance(client, _Versioned) else client.kind
