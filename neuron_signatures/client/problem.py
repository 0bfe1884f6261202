"""The one error of the client: what the server said, or why there is no answer."""

from __future__ import annotations

from typing import Literal

from neuron_signatures.api.problem import ProblemType
from neuron_signatures.runs.errors import ProjectError

START_SERVER = "python -m neuron_signatures.serve --model_name demo"

Kind = (
    ProblemType
    | Literal[
        "no_server",  # nothing listens at the address
        "no_answer",  # the connection was lost, or the time is over
        "bad_answer",  # of another program, a proxy, or a server that is broken
        "load_failed",  # the model could not be loaded
    ]
)


class ServerProblem(ProjectError):
    """A request without an answer. `status` is the HTTP status, 0 if there was no response.

    `type` and `detail` are those of the server's problem JSON, or the client's own: "no_server", "no_answer",
    "bad_answer", "load_failed". `str()` is one line, without control characters.
    """

    def __init__(self, type: Kind, detail: str, *, status: int = 0, next_step: str = "") -> None:
        super().__init__(detail, next_step=next_step)
        self.type = type
        self.detail = detail
        self.status = status


def no_server(url: str) -> ServerProblem:
    return ServerProblem("no_server", f"no server at {url}", next_step=f"Start one with `{START_SERVER}`")


def bad_answer(url: str, what: str, status: int) -> ServerProblem:
    detail = f"{url} gave no answer of a neuron-signatures server ({what})"
    return ServerProblem("bad_answer", detail, status=status, next_step="Does another program use this port?")


def no_answer(url: str, what: str) -> ServerProblem:
    return ServerProblem("no_answer", f"{url}: {what}", next_step="Try again, or look at the server's log")
