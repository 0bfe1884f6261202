"""`search_meta.json`, the record of the index: what was read, and with which model it was embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import Sha256
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.search.database import AGAIN
from neuron_signatures.runs.search.folder import SEARCH_FOLDER
from neuron_signatures.runs.search.names import SEARCH, Kind
from neuron_signatures.runs.stage_results import ResultRecord, record_name

Count = Annotated[int, Field(ge=0, lt=1 << 31)]
Label = Annotated[str, Field(max_length=1000)]
MAX_DIMENSIONS: Final = 16_384


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class LogRead(_Facts):
    """How far the log of a set was read."""

    n_bytes: Annotated[int, Field(ge=0, lt=1 << 53)]
    sha256: Sha256
    """Of these bytes."""
    n: Count
    """Explanations that were current."""


class EmbedderFacts(_Facts):
    name: Label
    fingerprint: Label | None
    revision: Label | None
    dimensions: Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)]
    max_tokens: Count
    """Of a text; the rest of it is not embedded."""


class SearchFacts(_Facts):
    """The `facts` of the record."""

    kinds: list[Kind]
    layers: list[Count] | None
    """Those that were indexed; None: all."""
    n_texts: Count
    n_explanations: Count
    n_exemplars: Count
    sets: list[Label]
    """In the order of the places in the rows."""
    explainers: list[Label]
    logs: dict[Label, LogRead]
    """By set."""
    embedder: EmbedderFacts | None

    @property
    def counts(self) -> dict[Kind, int]:
        return {"explanation": self.n_explanations, "exemplar": self.n_exemplars}


class SearchRecord(NamedTuple):
    record: ResultRecord
    facts: SearchFacts


def read_search(run_dir: Path) -> SearchRecord:
    """The record of the index. Raises `UsageError` if there is no index, `BadRunError` if the record is damaged."""
    record = SEARCH_FOLDER.read_record(run_dir, SEARCH)
    try:
        return SearchRecord(record, SearchFacts.model_validate(record.facts))
    except ValidationError as e:
        where = str(run_dir / SEARCH / record_name(SEARCH))
        raise BadRunError(f"facts: {first_error(e)}", where=where, next_step=AGAIN) from e
