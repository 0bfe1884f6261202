"""The stage record of the corpus files."""

from __future__ import annotations

from typing import Any

from neuron_signatures.runs.manifest import Sha256
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.stage_meta import Count, Label, RecordsRecord


class CorpusMeta(RecordsRecord):
    """`corpus_meta.json`."""

    mode: Label = "corpus"
    seed: int
    parts: dict[Part, int]
    sequence_length: Count
    stride: Count
    skip_first: Count
    concatenate: bool
    prepend_bos: bool
    bos_token_id: int | None
    tokenizer_sha256: Sha256 | None
    source: dict[str, Any]
    source_sha256: Sha256
    n_documents: Count
    n_windows: Count
    n_tokens: Count
    n_counted: Count
    counted_by_part: dict[Part, int]
    documents_by_part: dict[Part, int]
    dropped: dict[str, int]
    complete: bool
    stopped: Label | None
