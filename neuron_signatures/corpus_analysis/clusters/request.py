"""A command that clusters neurons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.corpus_analysis.choice import NeuronChoice
from neuron_signatures.corpus_analysis.contexts import Embedding
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.corpus_analysis.folder import Basis, Method


@dataclass(frozen=True)
class Grouping:
    """How neurons are grouped. Without `n_clusters`, k-means takes the k of the largest silhouette of a short list."""

    bases: tuple[Basis, ...]
    methods: tuple[Method, ...]
    n_clusters: tuple[int, ...]
    min_cluster_size: int
    embedding: Embedding
    """Of the contexts of the strongest windows (by exemplars)."""


@dataclass(frozen=True)
class Checks:
    """Draws that say how stable a clustering is, and what data without clusters would give."""

    n_bootstraps: int
    n_shuffles: int


@dataclass(frozen=True)
class EffectSettings:
    """The windows that a cluster's effect is measured in, positions from the peak on, and random sets beside it."""

    n_windows: int
    span: int
    n_random: int


@dataclass(frozen=True)
class ClustersRequest:
    """What `clusters` computes; `effect` is None to leave it out."""

    run_dir: Path
    choice: NeuronChoice
    grouping: Grouping
    checks: Checks
    effect: EffectSettings | None
    sample_tokens: int
    min_count: int
    """Occurrences in the sample that a token must have to describe a cluster."""
    n_tokens: int
    """Tokens listed for a cluster."""
    seed: int
    overrides: ModelOverrides
    batch_size: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.grouping).items()}
        return {
            **plain, **asdict(self.checks), "effect": None if self.effect is None else asdict(self.effect),
            "sample_tokens": self.sample_tokens, "min_count": self.min_count, "n_tokens": self.n_tokens,
            "seed": self.seed, "layers": self.choice.layers,
        }  # fmt: skip
