"""What scorers are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_signatures.llm.session import Session
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design

if TYPE_CHECKING:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides


@dataclass(frozen=True)
class Tools:
    """`session` is None without a language model. `subject` says how the model of the run is loaded again, by scorers
    that run it; nothing is loaded before a scorer needs it."""

    run: Run
    records: Records
    design: Design
    session: Session | None = None
    subject: ModelOverrides | None = None
    device: str = "auto"
    """Of the embedding model."""
