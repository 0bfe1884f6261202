"""What a command of stage 4 asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.models.spec import BosRequest, ModelSpec
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.records.pass1.run import WHOLE, Shard
from neuron_signatures.runs.errors import UsageError


@dataclass(frozen=True)
class ExistingRun:
    """Records go into a run that exists; its model is loaded again."""

    run_dir: Path
    overrides: ModelOverrides


@dataclass(frozen=True)
class NewRun:
    """Records go into a new run without prompts."""

    out_dir: Path
    model: ModelSpec


@dataclass(frozen=True)
class CorpusRequest:
    """The corpus. `source` None takes the one that the run has. The BOS and `concatenate` become settings when the
    tokenizer is known."""

    source: Source | None
    settings: CorpusSettings
    concatenate: bool
    bos: BosRequest | None


@dataclass(frozen=True)
class PassRequest:
    """Settings of the first pass. `layers` None means all, `batch_size` None a default for the device."""

    layers: tuple[int, ...] | None
    top_k: int
    batch_size: int | None
    checkpoint_seconds: float
    shard: Shard = WHOLE
    merge: bool = False


@dataclass(frozen=True)
class ChosenNeurons:
    """Neurons that the second pass keeps whole: `neurons` as pairs of layer and neuron, or the neurons `indices` of
    every recorded layer, or if both are None all of these layers. `chosen_by` says why."""

    chosen_by: str
    explicit: bool
    """Whether the user named them: then too many of them are an error, and otherwise a reason to keep none."""
    neurons: tuple[tuple[int, int], ...] | None = None
    indices: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SampleRequest:
    """Settings of the second pass."""

    chosen: ChosenNeurons
    windows: int
    max_bytes: int
    seed: int


@dataclass(frozen=True)
class RecordsRequest:
    """A whole command. Raises `UsageError` for flags that contradict each other."""

    target: ExistingRun | NewRun
    corpus: CorpusRequest
    first: PassRequest
    sample: SampleRequest
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    flags_given: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume continues and --overwrite starts anew: give one of them")

    @property
    def run_dir(self) -> Path:
        return self.target.run_dir if isinstance(self.target, ExistingRun) else self.target.out_dir
