"""Which language model is asked: `openai:MODEL`, `local:NAME` or `none`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from neuron_signatures.llm.chat import ChatClient
from neuron_signatures.llm.endpoint import KEY_VARIABLE
from neuron_signatures.models.spec import Dtype
from neuron_signatures.runs.errors import UsageError

if TYPE_CHECKING:
    from neuron_signatures.llm.prices import Prices

ClientKind = Literal["openai", "local", "none"]

_MAX_MODEL = 200


@dataclass(frozen=True)
class LlmSpec:
    """What the flags say about the language model. Fields of the other kinds are ignored."""

    kind: ClientKind
    model: str

    # openai
    base_url: str | None = None
    """None: `OPENAI_BASE_URL`, else OpenAI's."""
    api_key_env: str = KEY_VARIABLE
    allow_http: bool = False
    concurrency: int = 8
    timeout: float = 120.0
    """Seconds for one HTTP request."""
    attempts: int = 4
    retry_after_cap: float = 60.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    # local
    device: str = "auto"
    dtype: Dtype | None = None
    """None: bf16 on a GPU, fp32 elsewhere."""
    batch_size: int = 8


def parse_llm(text: str) -> LlmSpec:
    """The value of `--llm`. Raises `UsageError`."""
    kind, _, model = text.partition(":")
    if text == "none":
        return LlmSpec("none", "none")
    if kind not in get_args(ClientKind) or kind == "none" or not model:
        next_step = "Give openai:MODEL, local:NAME or none"
        raise UsageError(f"{text[:80]!r} names no language model", where="--llm", next_step=next_step)
    if len(model) > _MAX_MODEL or not model.isprintable():
        raise UsageError("the name of the model is too long or not printable", where="--llm")
    return LlmSpec("openai" if kind == "openai" else "local", model)


def short_name(model: str) -> str:
    """The name of a model as a part of a file name: the last part of a path or id; may be empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.rstrip("/").rpartition("/")[2]).strip("-.")[:60]


def open_client(spec: LlmSpec) -> ChatClient:
    """The client. Raises `UsageError` for an address that is not allowed and for a missing key."""
    if spec.kind == "none":
        from neuron_signatures.llm.none import NoClient

        return NoClient()
    if spec.kind == "local":
        from neuron_signatures.llm.local import LocalClient

        return LocalClient(spec)
    return _open_openai(spec)


def open_prices(spec: LlmSpec, file: Path | None) -> Prices | None:
    """The prices of a file; without one those that are shipped, which hold for OpenAI's own server only; else None.

    Raises `UsageError`.
    """
    from neuron_signatures.llm.endpoint import open_endpoint
    from neuron_signatures.llm.prices import read_prices, shipped_prices

    if file is not None:
        return read_prices(file)
    if spec.kind == "openai" and open_endpoint(spec.base_url, allow_http=spec.allow_http).is_openai:
        return shipped_prices()
    return None


def _open_openai(spec: LlmSpec) -> ChatClient:
    from neuron_signatures.llm.endpoint import key_of, open_endpoint

    endpoint = open_endpoint(spec.base_url, allow_http=spec.allow_http)  # before openai is imported, which takes time
    key = key_of(endpoint, spec.api_key_env)

    from neuron_signatures.llm.openai_client import OpenAIClient
    from neuron_signatures.llm.wire.pace import Pace
    from neuron_signatures.llm.wire.retries import RetryPolicy

    return OpenAIClient(
        spec.model,
        endpoint,
        key,
        concurrency=spec.concurrency,
        timeout=spec.timeout,
        retries=RetryPolicy(attempts=spec.attempts, retry_after_cap=spec.retry_after_cap),
        pace=Pace(spec.requests_per_minute, spec.tokens_per_minute),
    )
