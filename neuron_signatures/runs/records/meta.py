"""The stage records of the records of all neurons and of the chosen neurons."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field

from neuron_signatures.runs.manifest import MAX_LAYERS, Dtype, Sha256
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.stage_meta import Count, Label, RecordsRecord

MAX_TOP_K = 1 << 16
"""Most entries of a list."""
_IDENTITY = (
    "source_sha256", "seed", "parts", "sequence_length", "stride", "skip_first", "concatenate", "prepend_bos",
    "bos_token_id", "tokenizer_sha256",
)  # fmt: skip


class _OfModel(RecordsRecord):
    """The model and the corpus that the records were computed from."""

    model_name: Label
    model_revision: Label | None
    weights_fingerprint: Label | None
    model_dtype: Dtype
    device_name: Label
    attn_implementation: Label
    corpus_sha256: Sha256
    """`corpus_digest` of the corpus."""


class RecordsMeta(_OfModel):
    """`records_meta.json`: all neurons of the recorded layers."""

    mode: Label = "neurons"
    layers: Annotated[list[Count], Field(min_length=1, max_length=MAX_LAYERS)]
    """In the order of the first axis of every array."""
    n_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    """Layers of the model."""
    d_mlp: Annotated[int, Field(ge=1, le=1 << 24)]
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)]
    batch_size: Count | None
    """None for imported records, which no model was run for."""
    histogram_share: Annotated[int, Field(ge=1)] = 8
    """One of this number of windows is in the histograms."""
    context: Count = 8
    """Tokens on each side of a peak that make two of them duplicates."""
    left_out: dict[str, Count]
    """Windows without values because one of them was not finite, by layer."""
    n_shards: Count
    wall_seconds: float
    tokens_per_second: float | None
    n_dead: Count
    n_nearly_dead: Count
    n_first_position: Count | None = None
    """Neurons whose strongest windows peak mostly where a window begins; None if they were not counted."""


class SampleMeta(_OfModel):
    """`sample_meta.json`: the chosen neurons."""

    mode: Label = "sample"
    n_neurons: Count
    chosen_by: Label
    n_windows: Count
    sample_seed: int
    bytes: Count
    n_rows: Count
    worst_difference: float | None
    """The largest relative difference between a value of the lists and of the recomputed row; None without rows."""


def corpus_digest(meta: CorpusMeta) -> str:
    """The checksum of the documents and of the settings that decide windows, parts and positions."""
    fields = meta.model_dump()
    text = json.dumps({k: fields[k] for k in _IDENTITY}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
