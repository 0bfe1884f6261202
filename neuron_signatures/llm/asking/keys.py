"""What makes two requests the same: the server, the model, the messages and the parameters."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from neuron_signatures.llm.chat import ChatRequest


def request_fields(request: ChatRequest, *, base_url: str, model: str) -> dict[str, Any]:
    """The request as JSON values. `base_url` is empty for a model in this process."""
    return {
        "base_url": base_url,
        "model": model,
        "messages": [[role, content] for role, content in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "top_logprobs": request.top_logprobs,
    }


def key_of_fields(fields: dict[str, Any]) -> str:
    """The sha256 of the fields in a fixed form."""
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
