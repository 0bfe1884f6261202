"""Large answers as JSON, made on the thread that read them."""

from __future__ import annotations

import json

from pydantic_core import PydanticSerializationError
from starlette.responses import Response

from neuron_signatures.api.base import Answer
from neuron_signatures.runs.plain import strict


def json_answer(answer: Answer) -> Response:
    """Strict JSON in UTF-8. Lone surrogates, which manifests of format 1 can contain, become escapes as text."""
    try:
        body = answer.model_dump_json().encode()
    except PydanticSerializationError:  # of a surrogate; this way takes 15 times as long
        body = json.dumps(strict(answer.model_dump()), ensure_ascii=False, allow_nan=False).encode()
    return Response(body, media_type="application/json")
