"""Large answers as JSON, made on the thread that read them."""

from __future__ import annotations

import json

from starlette.responses import Response

from neuron_signatures.api.base import Answer
from neuron_signatures.runs.plain import strict


def json_answer(answer: Answer) -> Response:
    """Strict JSON. Lone surrogates, which tokens may hold and UTF-8 cannot, become escapes as text."""
    text = json.dumps(strict(answer.model_dump()), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), media_type="application/json")
