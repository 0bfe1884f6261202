"""Messages about the runs of the server's folder."""

from __future__ import annotations

from neuron_signatures.api.base import Answer
from neuron_signatures.runs.listing import Status
from neuron_signatures.runs.records.names import Pole


class RunItem(Answer):
    name: str
    status: Status
    model_name: str = ""
    n_prompts: int = 0
    n_tokens: int = 0
    created_at_utc: str = ""
    problem: str = ""


class RunList(Answer):
    runs: list[RunItem]


class ExplanationItem(Answer):
    """One explanation; scores are those of the run's score tables, with what chance gives beside them."""

    layer: int
    neuron: int
    pole: Pole
    set: str
    id: str
    text: str
    explainer: str
    status: str
    author: str
    current: bool


class ExplanationList(Answer):
    total: int
    offset: int
    explanations: list[ExplanationItem]
