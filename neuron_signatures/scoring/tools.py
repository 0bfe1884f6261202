"""What scorers are made from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_signatures.llm.session import Session
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.outputs.subject import Subject

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

    @functools.cached_property
    def subject_model(self) -> Subject:
        """The model of the run, loaded when it is first used, and once for all scorers made of these tools."""
        return Subject(self.run, self.records, self.subject)
