"""What a run of `--mode steer` is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.skills.specific import SpecificChoice
from neuron_signatures.skills.steer.doses import Doses
from neuron_signatures.skills.steer.edits import EditKind

DEFAULT_DOSES: Final = Doses((0.05, 0.1, 0.2, 0.4), (1.0, 2.0, 4.0, 8.0), (0.5, 1.0, 2.0, 4.0))


@dataclass(frozen=True)
class Generate:
    """`n` neutral prompts are continued by up to `max_new_tokens` tokens, with the most specific unit of each class and
    source; none if `n` is 0."""

    n: int = 0
    max_new_tokens: int = 30


@dataclass(frozen=True)
class SteerRequest:
    """`dose` is the dose of the claim: a number for every kind of unit, or None: the one that raises the class most on
    texts of `find`. `n_texts` are drawn per class and half; `n_neutral` prompts and the prose of `neutral` give the
    price. `rows` are texts with a change per forward pass, and
    `figures` the formats of the pictures."""

    choice: SpecificChoice
    edits: tuple[EditKind, ...]
    doses: Doses
    dose: float | None
    n_random: int
    n_texts: int
    n_neutral: int
    max_tokens: int
    rows: int
    seed: int
    neutral: Neutral
    overrides: ModelOverrides
    saes: str | None = None
    directions: Path | None = None
    generate: Generate = Generate()
    figures: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """The settings that decide the measured numbers."""
        return {
            "choice": {k: list(v) if v is not None and k != "top" else v for k, v in asdict(self.choice).items()},
            "edits": list(self.edits),
            "doses": asdict(self.doses),
            "dose": self.dose,
            "n_random": self.n_random,
            "n_texts": self.n_texts,
            "n_neutral": self.n_neutral,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "neutral": self.neutral.record(),
        }
