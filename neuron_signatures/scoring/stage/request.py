"""What the stage is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.choose import LlmSpec
from neuron_signatures.runs.scores.names import CONTROLS, Control, Scorer
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.poles import NeuronRequest

if TYPE_CHECKING:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides

WITHOUT_MODEL: tuple[Scorer, ...] = ("rule", "embedding")
"""Scorers that ask no language model."""
ASKED_PER_WINDOW: tuple[Scorer, ...] = ("logits", "top_logprobs", "json")
"""Scorers that ask a language model about every window; the others choose a few of them."""
N_UNIFORM_ASKED = 20
"""Windows of the uniform sample for these, if the flags do not say how many; others take all."""


@dataclass(frozen=True)
class ScoreRequest:
    """`sets`: None for all finished ones. `limit`: at most so many poles that are not done, for each set and scorer.
    `label` is added to the names of the files. `subject` and `device` are as in `Tools`."""

    run_dir: Path
    scorers: tuple[Scorer, ...]
    neurons: NeuronRequest
    design: Design
    limits: Limits
    sets: tuple[str, ...] | None = None
    controls: tuple[Control, ...] = CONTROLS
    llm: LlmSpec | None = None
    price_file: Path | None = None
    use_cache: bool = True
    limit: int | None = None
    retry_failed: bool = False
    label: str = ""
    subject: ModelOverrides | None = None
    device: str = "auto"
    flags_given: tuple[str, ...] = ()
