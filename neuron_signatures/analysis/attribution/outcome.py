"""What a command of `--mode influence` gives, for its summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.analysis.attribution.first_neurons import FirstNeuron
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.targets import ResolvedTarget
from neuron_signatures.analysis.validation.validate import Validation
from neuron_signatures.runs.results import ANALYSIS
from neuron_signatures.runs.sharding.shard import Shard


@dataclass(frozen=True)
class MetricSummary:
    """Summary of one ranking. `stem` is that of its files; `first` are its first neurons."""

    metric: str
    stem: str
    n_selected: int
    selected_share: float
    first: tuple[FirstNeuron, ...]
    warnings: tuple[str, ...]


class Validated(NamedTuple):
    """A validation, the stem of its files, and its record."""

    result: Validation
    stem: str
    record: dict[str, Any]


class MeasuredShard(NamedTuple):
    """The number of single ablations of a shard, and of all; `name` is its file."""

    shard: Shard
    n_measured: int
    n_all: int
    name: str

    def fields(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self._asdict(), "shard": str(self.shard)}

    def line(self) -> str:
        """As text."""
        return (
            f"shard    {self.shard.number} of {self.shard.of} is finished: {self.n_measured:,} of {self.n_all:,} "
            f"ablations of single neurons; --merge joins them\nwritten  {ANALYSIS}/{self.name}"
        )


class Computed(NamedTuple):
    attribution: Attribution
    summary: MetricSummary


@dataclass(frozen=True)
class InfluenceOutcome:
    resolved: ResolvedTarget
    reference: Reference
    prompt_id: str
    metrics: tuple[MetricSummary, ...]
    validated: Validated | None
