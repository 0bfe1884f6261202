"""NeuronRecord files: one JSON per neuron, `neurons/<layer>/<neuron>.json`, as the earlier explainer reads them.

Keys of the public format (Bills et al. 2023, "Language models can explain neurons in language models"). Each object may
name its class in `dataclass_name`. `variance` is that of the population and `kurtosis` is m4/m2² (3 for a normal
distribution); the public files do not say which kurtosis they mean, and the earlier extractor writes null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.plain import strict

NEURONS_FOLDER = "neurons"
_MAX_LAYER, _MAX_NEURON = 1 << 16, 1 << 24
_MAX_TOKENS = 1 << 15
_MAX_TOKEN = 2000
"""Characters of a token: a run holds texts of 64 KiB."""
_MAX_RECORDS = 10_000

Number = Annotated[float, Field(strict=False, ge=-3.4e38, le=3.4e38)]
Moment = Annotated[float, Field(strict=False)] | None


class Input(BaseModel):
    """What other tools wrote: unknown keys are ignored, known ones are checked."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class ActivationRecord(Input):
    """Tokens of a text and the neuron's activation at each."""

    tokens: Annotated[list[Annotated[str, Field(max_length=_MAX_TOKEN)]], Field(min_length=1, max_length=_MAX_TOKENS)]
    activations: list[Number]

    @model_validator(mode="after")
    def _same_length(self) -> ActivationRecord:
        if len(self.tokens) != len(self.activations):
            raise ValueError(f"{len(self.tokens)} tokens and {len(self.activations)} activations")
        return self


class NeuronId(Input):
    layer_index: Annotated[int, Field(ge=0, lt=_MAX_LAYER)]
    neuron_index: Annotated[int, Field(ge=0, lt=_MAX_NEURON)]


class NeuronRecord(Input):
    """One neuron. Moments are None where they are undefined or were not computed."""

    neuron_id: NeuronId
    random_sample: Annotated[list[ActivationRecord], Field(max_length=_MAX_RECORDS)]
    random_sample_by_quantile: list[list[ActivationRecord]] | None = None
    quantile_boundaries: list[Number] | None = None
    mean: Moment = None
    variance: Annotated[float, Field(strict=False, ge=0)] | None = None
    skewness: Moment = None
    kurtosis: Moment = None
    most_positive_activation_records: Annotated[list[ActivationRecord], Field(max_length=_MAX_RECORDS)]


def record_json(record: NeuronRecord, *, with_class_names: bool) -> str:
    """The file of one neuron."""
    fields = record.model_dump()
    if with_class_names:
        fields = {"dataclass_name": "NeuronRecord", **fields}
        fields["neuron_id"] = {"dataclass_name": "NeuronId", **fields["neuron_id"]}
        for key in ("random_sample", "most_positive_activation_records"):
            fields[key] = [_named(r) for r in fields[key]]
        if (groups := fields["random_sample_by_quantile"]) is not None:
            fields["random_sample_by_quantile"] = [[_named(r) for r in group] for group in groups]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def read_record(path: Path) -> NeuronRecord:
    """A file of one neuron. Raises `UsageError` with the file and the path of the first wrong field."""
    try:
        return NeuronRecord.model_validate(strict(read_json_file(path, max_bytes=RECORD_BYTES)))
    except ValidationError as e:
        raise UsageError(first_error(e), where=str(path), next_step="Fix or remove the file") from e
    except (BadRunError, FileNotFoundError) as e:
        what = e.what if isinstance(e, BadRunError) else "there is no such file"
        raise UsageError(what, where=str(path), next_step="Fix or remove the file") from e


def record_files(source: Path) -> Iterator[Path]:
    """The files below `source` or `source/neurons`, by layer and neuron. Other files are skipped."""
    root = source / NEURONS_FOLDER if (source / NEURONS_FOLDER).is_dir() else source
    for layer in _numbered(root):
        yield from _numbered(layer, ".json")


def decimal_acts(acts: np.ndarray) -> list[float]:
    """float32 values as the shortest decimals that read as the same float32."""
    return [float(str(v)) for v in acts]


def _numbered(folder: Path, ending: str = "") -> list[Path]:
    """What has a number as its name, by number."""
    try:
        found = [p for p in folder.iterdir() if p.name.removesuffix(ending).isdecimal() and p.name.endswith(ending)]
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror or e})", where=str(folder)) from e
    return sorted((p for p in found if p.is_dir() != bool(ending)), key=lambda p: int(p.name.removesuffix(ending)))


def _named(record: dict[str, Any]) -> dict[str, Any]:
    return {"dataclass_name": "ActivationRecord", **record}
