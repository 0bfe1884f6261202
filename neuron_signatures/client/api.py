"""One method for each path of the HTTP API.

    with Client() as client:
        answer = client.next_token("The capital of the state containing Dallas is", top_k=5)

A request is a message of `neuron_signatures.api`, or a text, or the fields of the message by name. Answers are
messages. Tokens and texts in them are as the model or run holds them: escape them before they are shown.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from jaxtyping import Float32
from pydantic import ValidationError

from neuron_signatures.api.base import Answer, Message
from neuron_signatures.api.live import (
    ActivationsAnswer,
    ActivationsRequest,
    GenerateAnswer,
    GenerateRequest,
    InfluenceAnswer,
    InfluenceRequest,
    InterveneAnswer,
    InterveneRequest,
    NextTokenAnswer,
    NextTokenRequest,
    TextRequest,
    TokensAnswer,
)
from neuron_signatures.api.models import Health, LoadRequest, Memory, ModelList, ModelState
from neuron_signatures.api.neuron_page import NeuronPage
from neuron_signatures.api.runs import ExplanationList, RunFacts, RunList
from neuron_signatures.api.search import SearchAnswer, SearchRequest
from neuron_signatures.client.address import DEFAULT_URL, open_address, token_for
from neuron_signatures.client.loading import wait_for_model
from neuron_signatures.client.problem import bad_answer
from neuron_signatures.client.tensors import layers_of
from neuron_signatures.client.wire import CONNECT_SECONDS, Call, Params, Wire
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest_file import first_error

LOAD_SECONDS = 3600.0
"""How long `load_model` waits, downloads included."""
HEALTH_SECONDS = 10.0
MAX_TENSOR_BYTES = 512 << 20

A = TypeVar("A", bound=Answer)
M = TypeVar("M", bound=Message)


class Client:
    """A server of `neuron_signatures.serve`. May be used by several threads; `close` it, or use it in a `with` block.

    `timeout` is in seconds, for a call with its repetitions: after 429 (the queue is full) or a lost connection a call
    is sent again up to `retries` times. A server that accepts no connection for `connect_seconds` is none. `token` is
    that of the server, by default from NEURON_SIGNATURES_TOKEN; it is not sent over http to another machine unless
    `allow_http` is set. Redirects are not followed and proxies not used.

    Every method raises `ServerProblem`, and `UsageError` for arguments that no server would take.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        allow_http: bool = False,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        address = open_address(url)
        self.url = address.url
        self.timeout = timeout
        self._wire = Wire(
            address, token_for(address, token, allow_http=allow_http), retries=retries, connect_seconds=connect_seconds
        )

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    # --- the server and its model

    def health(self) -> Health:
        """Sent once, and answered soon also while the model works: without a server, "no_server" comes at once."""
        return self._answer(Call("GET", "/health"), Health, min(self.timeout, HEALTH_SECONDS), retries=0)

    def models(self) -> ModelList:
        return self._get("/models", ModelList)

    def memory(self) -> Memory:
        return self._get("/memory", Memory)

    def load_model(
        self, request: LoadRequest | str | None = None, /, *, wait: bool = True, seconds: float = LOAD_SECONDS,
        **fields: Any,
    ) -> ModelState:  # fmt: skip
        """Load a model, given as a message or a name, instead of the present one.

        With `wait`: returns when it is ready, at most after `seconds`, and raises "load_failed" if it cannot be loaded.
        """
        message = _message(LoadRequest, request, "model_name", fields)
        call = Call("POST", "/model", _json(message), repeatable=False)
        state = self._answer(call, ModelState, self.timeout + message.wait_seconds)
        return wait_for_model(self.url, self.health, message.model_name, state, seconds) if wait else state

    def unload_model(self) -> ModelState:
        return self._answer(Call("DELETE", "/model"), ModelState, self.timeout)

    # --- a text and the loaded model

    def tokens(self, request: TextRequest | str | None = None, /, **fields: Any) -> TokensAnswer:
        return self._post("/tokens", _message(TextRequest, request, "text", fields), TokensAnswer)

    def activations(self, request: ActivationsRequest | str | None = None, /, **fields: Any) -> ActivationsAnswer:
        return self._post("/activations", _message(ActivationsRequest, request, "text", fields), ActivationsAnswer)

    def activations_tensor(
        self, request: ActivationsRequest | str | None = None, /, **fields: Any
    ) -> dict[int, Float32[np.ndarray, "pos neuron"]]:
        """All activations of the text, by layer."""
        body = _json(_message(ActivationsRequest, request, "text", fields))
        call = Call("POST", "/activations/tensor", body, max_bytes=MAX_TENSOR_BYTES)
        response = self._wire.send(call, self.timeout)
        try:
            return layers_of(response.body)
        except (ValueError, RecursionError) as e:
            raise bad_answer(self.url, f"not a safetensors file: {e}", response.status) from e

    def next_token(self, request: NextTokenRequest | str | None = None, /, **fields: Any) -> NextTokenAnswer:
        return self._post("/next_token", _message(NextTokenRequest, request, "text", fields), NextTokenAnswer)

    def influence(self, request: InfluenceRequest | str | None = None, /, **fields: Any) -> InfluenceAnswer:
        return self._post("/influence", _message(InfluenceRequest, request, "text", fields), InfluenceAnswer)

    def intervene(self, request: InterveneRequest | str | None = None, /, **fields: Any) -> InterveneAnswer:
        return self._post("/intervene", _message(InterveneRequest, request, "text", fields), InterveneAnswer)

    def generate(self, request: GenerateRequest | str | None = None, /, **fields: Any) -> GenerateAnswer:
        return self._post("/generate", _message(GenerateRequest, request, "text", fields), GenerateAnswer)

    # --- runs

    def runs(self, *, limit: int = 100, offset: int = 0) -> RunList:
        """The runs among the folders `offset` to `offset + limit` of the server's folder, by name."""
        return self._get("/runs", RunList, params={"limit": limit, "offset": offset})

    def run(self, run: str) -> RunFacts:
        return self._get(_run(run), RunFacts)

    def neuron(self, run: str, layer: int, neuron: int, *, texts: int = 20) -> NeuronPage:
        """The page of a neuron in Neuronpedia's shape, with at most `texts` texts of each pole."""
        return self._get(f"{_run(run)}/neurons/{layer:d}/{neuron:d}", NeuronPage, params={"texts": texts})

    def explanations(
        self,
        run: str,
        *,
        words: str = "",
        set: str = "",
        layer: int | None = None,
        current: bool | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> ExplanationList:
        """The explanations `offset` to `offset + limit` of those that have all `words` and, if given, this set, layer
        and state.

        A word such as `L3`, `L3N508` or `L3N508+` selects this layer, neuron or pole instead.
        """
        params: dict[str, str | int] = {"words": words, "set": set, "limit": limit, "offset": offset}
        chosen = {k: v for k, v in params.items() if v != ""}
        if layer is not None:
            chosen["layer"] = layer
        if current is not None:
            chosen["current"] = str(current).lower()
        return self._get(f"{_run(run)}/explanations", ExplanationList, params=chosen)

    def search(self, run: str, request: SearchRequest | str | None = None, /, **fields: Any) -> SearchAnswer:
        return self._post(f"{_run(run)}/search", _message(SearchRequest, request, "query", fields), SearchAnswer)

    def _get(self, path: str, kind: type[A], *, params: Params | None = None) -> A:
        return self._answer(Call("GET", path, params=params), kind, self.timeout)

    def _post(self, path: str, message: Message, kind: type[A]) -> A:
        """All paths but /model only compute, so that a call may be repeated."""
        return self._answer(Call("POST", path, _json(message)), kind, self.timeout)

    def _answer(self, call: Call, kind: type[A], seconds: float, *, retries: int | None = None) -> A:
        response = self._wire.send(call, seconds, retries=retries)
        try:
            return kind.model_validate(self._wire.value(response))
        except ValidationError as e:
            raise bad_answer(self.url, first_error(e), response.status) from e


def _message(kind: type[M], given: M | str | None, main_field: str, fields: dict[str, Any]) -> M:
    """The message given, or made from the text in its main field and from the others. Raises `UsageError`."""
    if isinstance(given, Message):
        if fields:
            raise UsageError(f"a {kind.__name__} and also the fields {', '.join(fields)}", next_step="Give one of both")
        return given
    if isinstance(given, str):
        fields = {main_field: given, **fields}
    try:
        return kind.model_validate(fields)
    except ValidationError as e:
        raise UsageError(first_error(e), where=kind.__name__) from e


def _json(message: Message) -> bytes:
    return message.model_dump_json(exclude_none=True).encode()


def _run(name: str) -> str:
    """The path of a run. Raises `UsageError` for what is no name of a folder, also as part of an address."""
    if not name or name in (".", "..") or not name.isprintable() or set(name) & set("/\\"):
        raise UsageError(f"{name[:60]!r} is not the name of a run", next_step="Take one of Client.runs()")
    return f"/runs/{quote(name, safe='')}"
