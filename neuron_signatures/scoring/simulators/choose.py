"""Simulators by name."""

from __future__ import annotations

from typing import Literal

from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.scoring.simulators.base import Simulator
from neuron_signatures.scoring.simulators.rule import RuleSimulator

SimulatorName = Literal["rule", "embedding"]
SIMULATORS: tuple[SimulatorName, ...] = ("rule", "embedding")
"""Those that need no language model, the cheapest first."""


def open_simulator(name: str, *, embedder: str | None = None, device: str = "auto") -> Simulator:
    """The simulator of a name. `embedder` is the model of `embedding`, None for the default.

    Raises `UsageError` for an unknown name, `EnvironmentProblem` if the model of `embedding` cannot be had.
    """
    if name == "rule":
        return RuleSimulator()
    if name != "embedding":
        raise UsageError(f"there is no scorer {name!r}", next_step=f"Choose one of {', '.join(SIMULATORS)}")
    return _embedding(embedder, device)


def _embedding(embedder: str | None, device: str) -> Simulator:
    try:
        from neuron_signatures.models.embedding import DEFAULT_EMBEDDER, load_embedder
    except ModuleNotFoundError as e:
        raise EnvironmentProblem(f"the scorer embedding needs the package {e.name}", next_step=_WITHOUT) from e
    from neuron_signatures.scoring.simulators.embedding import EmbeddingSimulator

    try:
        return EmbeddingSimulator(load_embedder(embedder or DEFAULT_EMBEDDER, device=device))
    except EnvironmentProblem as e:
        raise EnvironmentProblem(
            f"the scorer embedding has no model: {e.what}", where=e.where, next_step=_WITHOUT
        ) from e


_WITHOUT = "Install requirements-real.txt, or choose --select_by rule, which needs no model"
