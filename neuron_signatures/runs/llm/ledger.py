"""`llm/ledger.json`: how many requests were sent and what they cost, by stage.

The journal is the truth; the ledger says up to which byte of it was counted, and what follows is counted when a process
opens it. So a process that is killed between two writes of the ledger loses nothing.
"""

from __future__ import annotations

import json
import os
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import explain_os_errors, json_text, write_text
from neuron_signatures.runs.llm.names import LLM, RequestFiles
from neuron_signatures.runs.opening import folder_below, read_regular, refuse_links

_MAX_BYTES: Final = 1 << 22
_MAX_NAMES: Final = 100
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Dollars = Annotated[float, Field(ge=0, strict=False)]
_Name = Annotated[str, Field(max_length=500)]


class Account(BaseModel):
    """Of one stage. Requests are HTTP requests, with those that failed and were repeated."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    requests: _Count = 0
    failed: _Count = 0
    """Of the requests: without an answer of a model."""
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    cost: _Dollars = 0.0
    """US dollars, by the tokens that the server counted, at the price of the time."""
    unknown_cost_at_most: _Dollars = 0.0
    """US dollars that requests without a count of tokens (timed out, cut) may have cost beside that."""
    without_price: _Count = 0
    """Of the requests: those to models whose price was not known; they are in no cost."""
    answered_by: dict[_Name, list[_Name]] = Field(default_factory=dict)
    """The models that answered, by the name that was asked for."""

    @property
    def most_cost(self) -> float:
        return self.cost + self.unknown_cost_at_most

    def note_model(self, asked: str, answered: str | None) -> bool:
        """Record who answered; returns whether it differs from all who answered before under this name."""
        if answered is None:
            return False
        names = self.answered_by.setdefault(asked, [])
        if answered in names or len(names) >= _MAX_NAMES:
            return False
        names.append(answered)
        return len(names) > 1


class Ledger(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    ledger_version: Literal[1] = 1
    journal_bytes: _Count = 0
    """Up to here the journal is counted."""
    stages: dict[Annotated[str, Field(max_length=100)], Account] = Field(default_factory=dict)

    def account(self, stage: str) -> Account:
        return self.stages.setdefault(stage, Account())


def read_ledger(files: RequestFiles) -> Ledger:
    """The stored ledger, or an empty one. Raises `BadRunError` if it is damaged."""
    path = files.folder / files.ledger
    refuse_links(files.run_dir, [LLM, f"{LLM}/{files.ledger}"])
    if not os.path.lexists(path):
        return Ledger()
    try:
        with explain_os_errors(path):
            raw = read_regular(path, max_bytes=_MAX_BYTES)
        parse_json(raw)  # within the bounds of all JSON in a run
        return Ledger.model_validate_json(raw)
    except (ValueError, ValidationError) as e:
        next_step = "Remove it: it is made again from the journal"
        raise BadRunError("is damaged", where=str(path), next_step=next_step) from e


def write_ledger(files: RequestFiles, ledger: Ledger) -> None:
    with explain_os_errors(files.folder), folder_below(files.run_dir, LLM, create=True):
        pass
    value: dict[str, Any] = json.loads(ledger.model_dump_json())
    write_text(files.run_dir, files.ledger, json_text(value), below=LLM)
