"""What a command of `--mode collect` asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neuron_signatures.models.spec import BosRequest
from neuron_signatures.records.request import ExistingRun, NewRun
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Site


@dataclass(frozen=True)
class TextsRequest:
    """Which texts: `demo` or a file. `n_per_class` and `classes` None mean all; lengths are in tokens with BOS."""

    source: str
    n_per_class: int | None
    classes: tuple[str, ...] | None
    max_length: int
    skip_first: int
    bos: BosRequest | None = None


@dataclass(frozen=True)
class BanksRequest:
    """Which banks. `saes` names autoencoders, `directions` a file; None for `sources`, `sites`, `layers` means all."""

    saes: str | None
    directions: Path | None
    sources: tuple[str, ...] | None
    sites: tuple[Site, ...] | None
    layers: tuple[int, ...] | None


@dataclass(frozen=True)
class CollectRequest:
    """A whole command. `batch_size` None takes a default for the device. Raises `UsageError` for contradictions."""

    target: ExistingRun | NewRun
    texts: TextsRequest
    banks: BanksRequest
    top_k: int
    quantile: float
    sample_tokens: int
    batch_size: int | None
    seed: int
    force: bool = False
    resume: bool = False
    overwrite: bool = False
    flags_given: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume continues and --overwrite starts anew: give one of them")
        if not 0 < self.quantile < 1:
            raise UsageError(f"{self.quantile} is not between 0 and 1", where="--quantile")
        if self.texts.skip_first + 2 > self.texts.max_length:
            what = f"{self.texts.skip_first} leaves fewer than 2 of {self.texts.max_length} tokens (--max_length)"
            raise UsageError(what, where="--skip_first")

    @property
    def run_dir(self) -> Path:
        return self.target.run_dir if isinstance(self.target, ExistingRun) else self.target.out_dir
