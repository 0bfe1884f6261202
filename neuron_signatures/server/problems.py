"""Every error of the API as problem JSON: one line, the next step, and no traceback.

A route or a job raises a `ProjectError`, or a `ProblemError` made by a function below:

    raise not_found("there is no run 'x'", next_step="GET /v1/runs lists them")

| raised | status, type |
|---|---|
| `UsageError` | 422 invalid_request |
| `BadRunError` | 409 damaged_run |
| `EnvironmentProblem` | 503 out_of_memory if memory was the cause, else 503 unavailable |
| any other `ProjectError` | 503 unavailable |
| any other exception: a defect | 500 internal; the traceback goes to the log alone |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from neuron_signatures.api.problem import MEDIA_TYPE, Problem, ProblemType
from neuron_signatures.models.batching import is_out_of_memory
from neuron_signatures.runs.errors import (
    MAX_LINE,
    BadRunError,
    ProjectError,
    UsageError,
    escape_controls,
    shorten,
)

SECURITY_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Of every answer."""

_TYPES: Final[dict[int, ProblemType]] = {
    401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large",
    415: "unsupported_media_type",
}  # fmt: skip
_TITLES: Final[dict[ProblemType, str]] = {
    "invalid_request": "The request is wrong",
    "unauthorized": "A token is needed",
    "forbidden": "Not allowed",
    "not_found": "There is no such thing",
    "method_not_allowed": "Another method is needed",
    "no_model": "No model is loaded",
    "damaged_run": "The run cannot be read",
    "too_large": "The request is too large",
    "unsupported_media_type": "The body must be JSON",
    "queue_full": "Too many requests wait",
    "out_of_memory": "Out of memory",
    "unavailable": "Not available now",
    "timed_out": "It took too long",
    "internal": "The server has a defect",
}


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = dict(headers or {})


def problem_error(
    status: int, kind: ProblemType, detail: str, *, next_step: str = "", headers: Mapping[str, str] | None = None
) -> ProblemError:
    """The error with these fields. Control characters are escaped and long texts shortened."""
    line, step = (shorten(escape_controls(text), MAX_LINE) for text in (detail, next_step))
    problem = Problem(type=kind, title=_TITLES[kind], status=status, detail=line, next_step=step)
    return ProblemError(problem, headers)


def not_found(detail: str, *, next_step: str = "") -> ProblemError:
    return problem_error(404, "not_found", detail, next_step=next_step)


def no_model(detail: str, *, next_step: str) -> ProblemError:
    return problem_error(409, "no_model", detail, next_step=next_step)


def unavailable(detail: str, *, next_step: str = "", retry_after: int | None = None) -> ProblemError:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return problem_error(503, "unavailable", detail, next_step=next_step, headers=headers)


def problem_of(error: ProjectError) -> ProblemError:
    """The answer that says what a `ProjectError` says."""
    if isinstance(error, UsageError):
        status, kind = 422, "invalid_request"
    elif isinstance(error, BadRunError):
        status, kind = 409, "damaged_run"
    elif is_out_of_memory_problem(error):
        status, kind = 503, "out_of_memory"
    else:
        status, kind = 503, "unavailable"
    detail = f"{error.where}: {error.what}" if error.where else error.what
    return problem_error(status, kind, detail, next_step=error.next_step)  # type: ignore[arg-type]


def problem_response(error: ProblemError) -> Response:
    """The answer itself, in ASCII: a text may contain unpaired surrogates, which UTF-8 cannot encode."""
    body = json.dumps(error.problem.model_dump(), ensure_ascii=True, allow_nan=False).encode("ascii")
    headers = {**SECURITY_HEADERS, **error.headers}
    return Response(body, error.problem.status, headers=headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of `app` problem JSON."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(ProjectError, _on_project_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_defect)


def is_out_of_memory_problem(error: ProjectError) -> bool:
    """Whether memory ran out, according to the exception that caused `error`."""
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


def _on_project_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProjectError)
    return problem_response(problem_of(error))


def _on_validation(request: Request, error: Exception) -> Response:
    """The first error of a request of the wrong shape, and how many there are."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    status = 400 if any(e["type"] == "json_invalid" for e in errors) else 422
    step = "GET /v1/openapi.json has the fields" if status == 422 else ""
    return problem_response(problem_error(status, "invalid_request", f"{_line_of(errors[0])}{more}", next_step=step))


def _line_of(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    place = [str(part)[:40] for part in error["loc"][1:8]]
    return f"{'.'.join(place)}: {message}" if place else message


def _on_http(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI refuse themselves: 404, 405, and a body that is not JSON."""
    assert isinstance(error, HTTPException)
    kind = _TYPES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal")
    detail = HTTPStatus(error.status_code).phrase
    if kind in ("not_found", "method_not_allowed"):
        detail = f"{request.method[:20]} {request.url.path[:200]}"
    step = "GET /v1/openapi.json lists the paths" if kind in ("not_found", "method_not_allowed") else ""
    return problem_response(problem_error(error.status_code, kind, detail, next_step=step, headers=error.headers))


def _on_defect(request: Request, error: Exception) -> Response:
    """Starlette raises the exception again after this answer, and uvicorn logs its traceback."""
    detail = f"{type(error).__name__} in {request.method[:20]} {request.url.path[:200]}"
    return problem_response(problem_error(500, "internal", detail, next_step="Read the server's log, and report it"))
