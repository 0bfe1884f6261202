"""What a command of stage 4 asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.models.spec import BosRequest, ModelSpec
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.sharding.shard import Shard
from neuron_signatures.runs.skills.banks import Site


@dataclass(frozen=True)
class ExistingRun:
    """Records go into a run that exists; its model is loaded again."""

    run_dir: Path
    overrides: ModelOverrides


@dataclass(frozen=True)
class DirectionsRequest:
    """A directions file, and which of its directions are the units; None where the file leaves no choice."""

    path: Path
    site: Site | None = None
    source: str | None = None


@dataclass(frozen=True)
class NewRun:
    """Records go into a new run without prompts. Its units are neurons, or `directions`."""

    out_dir: Path
    model: ModelSpec
    directions: DirectionsRequest | None = None


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
    shard: Shard | None = None
    """Only this part of the pass."""
    merge: bool = False
    """Join the parts that the run holds."""

    @property
    def in_shards(self) -> bool:
        """Whether the command is one of several that make the records together."""
        return self.shard is not None or self.merge


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
    index_only: bool = False
    """Only read the corpus."""
    flags_given: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume continues and --overwrite starts anew: give one of them")
        if self.overwrite and self.first.in_shards:
            what, next_step = "--overwrite would remove all shards", "Give it once before them, with --index_only"
            raise UsageError(what, where="--merge" if self.first.merge else "--shard", next_step=next_step)
        if self.index_only and self.first.in_shards:
            raise UsageError("--index_only reads the corpus for all shards: give it without --shard and --merge")

    @property
    def goes_on(self) -> bool:
        """Whether the command goes on with what a stopped one left. The commands that make records in shards do."""
        return self.resume or self.first.in_shards or (self.index_only and not self.overwrite)

    @property
    def run_dir(self) -> Path:
        return self.target.run_dir if isinstance(self.target, ExistingRun) else self.target.out_dir
