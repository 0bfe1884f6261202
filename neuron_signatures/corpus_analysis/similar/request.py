"""A command that looks for similar neurons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.corpus_analysis.choice import NeuronChoice
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.corpus_analysis.folder import Similarity

Candidates = Literal["all", "sampled"]
"""All recorded neurons of the chosen layers, which takes the model; or those whose activations are stored."""


@dataclass(frozen=True)
class SimilarRequest:
    """What `similar` computes. `n_similar` neurons are listed for each chosen one (or each of its poles)."""

    run_dir: Path
    choice: NeuronChoice
    kinds: tuple[Similarity, ...]
    candidates: Candidates
    n_similar: int
    sample_tokens: int
    list_length: int | None
    """Windows of a list that are compared; None: see `similar.windows.list_length`."""
    n_draws: int
    null_neurons: int
    """Chosen neurons that have a null, at most."""
    seed: int
    overrides: ModelOverrides
    batch_size: int | None = None
    cache_bytes: int = 4 << 30
    """Of activations that are kept in memory; if they do not fit, the model runs once for each reading."""

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        return {
            "kinds": list(self.kinds), "candidates": self.candidates, "n_similar": self.n_similar,
            "sample_tokens": self.sample_tokens, "list_length": self.list_length, "n_draws": self.n_draws,
            "null_neurons": self.null_neurons, "seed": self.seed, "layers": self.choice.layers,
        }  # fmt: skip
