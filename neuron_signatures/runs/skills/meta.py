"""The stage records of `skills/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import FileRecord, Sha256
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.sealed_record import read_sealed
from neuron_signatures.runs.skills.banks import Bank, Site
from neuron_signatures.runs.skills.names import SKILLS, Mode, record_name

AGAIN = "Copy the run again, or repeat the command that made it"
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Label = Annotated[str, Field(max_length=1000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class BankRecord(_Record):
    """A bank that was collected."""

    source: Label
    site: Site
    layer: Count
    n_units: Count
    origin: Label
    """Where the units are from: an autoencoder's release and name, a file of directions, or `model`."""
    sha256: Sha256 | None = None
    """Of the weights; None for neurons."""

    @property
    def bank(self) -> Bank:
        return Bank(self.source, self.site, self.layer, self.n_units)


class SkillsRecord(_Record):
    """What the stage records of all modes have."""

    stage: Label
    mode: Mode
    created_at_utc: Label
    run: DumpIdentity | None = None
    settings: dict[str, Any]
    """The settings that decide the results."""
    wall_seconds: float
    files: list[FileRecord] = []
    record_sha256: Sha256 | None = None


class CollectMeta(SkillsRecord):
    """`skills/collect_meta.json`: texts and what all units do on them."""

    n_texts: Count
    n_tokens: Count
    """That count: without BOS and the first `skip_first` positions."""
    n_duplicates: Count
    """Texts that were left out because the same text of the same class came before."""
    n_ambiguous: Count = 0
    """Texts that were left out because the same text has another class too."""
    n_too_short: Count
    """Texts that were left out because fewer than two of their positions count."""
    n_truncated: Count
    classes: dict[Label, dict[Label, Count]]
    """Texts by class and skill."""
    top_k: Count
    quantile: float
    """Neurons and directions fire above this quantile of their own activations in the token sample."""
    banks: list[BankRecord]
    n_parts: Count


class ResultMeta(SkillsRecord):
    """The record of a mode that reads what `collect` wrote."""

    collect_sha256: Sha256
    """The seal of the record of `collect` that it is about."""
    facts: dict[str, Any]
    """Numbers about the result as a whole, for people."""


Meta = TypeVar("Meta", bound=SkillsRecord)


def read_meta(run_dir: Path, mode: Mode, kind: type[Meta]) -> Meta:
    """The stage record of a mode. Raises `UsageError` if it has not been made, `BadRunError` if it is damaged."""
    path = inside(run_dir, f"{SKILLS}/{record_name(mode)}")
    try:
        return read_sealed(path, kind, again=AGAIN)
    except FileNotFoundError as e:
        next_step = f"Make it with `python -m neuron_signatures.poc7_compare_skills --run_dir {run_dir} --mode {mode}`"
        raise UsageError("this has not been made yet", where=str(path), next_step=next_step) from e
