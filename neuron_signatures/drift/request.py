"""What a comparison of runs is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Source = Literal["dumps", "records"]


@dataclass(frozen=True)
class Drawn:
    """Numbers of random draws, limits of what is compared, and the seed of all of it."""

    n_draws: int = 200
    """Bootstrap draws of prompts, permutations of tokens and of indices, and random halves of the prompts."""
    max_tokens: int = 20_000
    """Tokens that are compared at most: whole prompts, drawn at random."""
    cka_tokens: int = 2000
    """Of these, tokens in the matrices of CKA at most: whole prompts, drawn at random."""
    seed: int = 0


@dataclass(frozen=True)
class CompareRequest:
    """Which runs are compared, in order, and how."""

    runs: tuple[Path, ...]
    labels: tuple[str, ...]
    """One per run, all different."""
    reference: int
    """Place of the run that all others are compared with, and into which the result is written."""
    name: str
    """Of the comparison's folder."""
    source: Source
    drawn: Drawn
    jaccard_k: int = 10
    fires_above: float = 0.0
    """A neuron fires at a token where its activation is larger."""
    first_pos: int | None = None
    include_bos: bool = False
    weights: bool = True
    """Whether the models are loaded, for the changes of weights and the loss."""
    matches: bool = True
    """Whether neurons are matched across indices."""
    figures: tuple[str, ...] = ("png",)
    device: str = "auto"

    def settings(self) -> dict[str, Any]:
        """What decides the results, for the record."""
        kept = ("source", "jaccard_k", "fires_above", "first_pos", "include_bos", "weights", "matches")
        return {
            "runs": [str(path) for path in self.runs], "labels": list(self.labels),
            "reference": self.labels[self.reference], **{name: getattr(self, name) for name in kept},
            **vars(self.drawn),
        }  # fmt: skip
