"""The error that ends all asking."""

from __future__ import annotations

from neuron_signatures.runs.errors import ExitCode, ProjectError
from neuron_signatures.runs.llm.status import Status


class StopAsking(ProjectError):
    """No further request makes sense: a limit is reached, the quota is used up, or the server refuses the key.

    What was answered so far is stored, and the same command continues later. `status` is for answers of a client that
    is used without a session.
    """

    exit_code = ExitCode.RESUMABLE

    def __init__(self, what: str, *, next_step: str = "", status: Status = "over_budget") -> None:
        super().__init__(what, next_step=next_step)
        self.status: Status = status
