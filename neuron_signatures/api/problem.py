"""Errors of the API as problem details (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

from typing import Literal

from neuron_signatures.api.base import Answer

MEDIA_TYPE = "application/problem+json"

ProblemType = Literal[
    "invalid_request",  # 400 not JSON, 422 of the wrong shape or a value that makes no sense
    "unauthorized",  # 401
    "forbidden",  # 403 Host, Origin, or a model that is not on the server's list
    "not_found",  # 404
    "method_not_allowed",  # 405
    "no_model",  # 409 no model is loaded
    "damaged_run",  # 409 a run folder that cannot be read
    "too_large",  # 413
    "unsupported_media_type",  # 415
    "queue_full",  # 429, with Retry-After
    "out_of_memory",  # 503
    "unavailable",  # 503 the machine lacks something, or the server is stopping
    "timed_out",  # 504
    "internal",  # 500, a defect
]


class Problem(Answer):
    """One error. `detail` is one line: where and what; `next_step` what to do, empty if nothing is known."""

    type: ProblemType
    title: str
    status: int
    detail: str = ""
    next_step: str = ""
