"""What the stage is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.explain.method import Method
from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.choose import LlmSpec
from neuron_signatures.runs.sharding.shard import Shard
from neuron_signatures.scoring.poles import NeuronRequest


@dataclass(frozen=True)
class ExplainRequest:
    """`llm` is None for the explainer lookup. `limit`: at most so many poles that are not done."""

    neurons: NeuronRequest
    method: Method
    set_name: str
    limits: Limits
    llm: LlmSpec | None = None
    price_file: Path | None = None
    use_cache: bool = True
    limit: int | None = None
    retry_failed: bool = False
    shard: Shard | None = None
    merge: bool = False
    flags_given: tuple[str, ...] = ()
