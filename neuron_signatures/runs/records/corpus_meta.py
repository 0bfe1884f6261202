"""The stage record of the corpus files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from neuron_signatures.runs.manifest import Sha256
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.stage_meta import Count, Label, RecordsRecord

MAX_SEQUENCE = 1 << 15
"""Longest window in tokens: positions are stored as 16-bit integers."""
MAX_DOCUMENTS = (1 << 31) - 1
MAX_WINDOWS = (1 << 31) - 1
"""Documents and windows are stored as 32-bit integers."""


class CorpusMeta(RecordsRecord):
    """`corpus_meta.json`: how a corpus was read and cut into windows.

    `sequence_length` counts the model's input, including the BOS if `prepend_bos`. Counts are of what is stored;
    `dropped` counts the documents that are not, by reason.
    """

    mode: Label = "corpus"
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
    parts: dict[Part, Annotated[int, Field(ge=0, le=100)]]
    """Percent of the documents."""
    sequence_length: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)]
    stride: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)]
    skip_first: Count
    concatenate: bool
    prepend_bos: bool
    bos_token_id: Count | None
    """None if no BOS is prepended."""
    tokenizer_sha256: Sha256 | None
    source: dict[str, Any]
    """What was read: kind, paths, dataset, revision."""
    source_sha256: Sha256
    """Of the checksums of all stored documents, in order."""
    n_documents: Annotated[int, Field(ge=0, le=MAX_DOCUMENTS)]
    n_windows: Annotated[int, Field(ge=0, le=MAX_WINDOWS)]
    n_tokens: Count
    n_counted: Count
    """Positions that count."""
    counted_by_part: dict[Part, Count]
    documents_by_part: dict[Part, Count]
    dropped: dict[Label, Count]
    complete: bool
    """Whether the source was read to its end."""
    stopped: Label | None
    """The limit at which reading stopped; None if `complete`."""
    max_tokens: Count | None = None
    max_windows: Count | None = None
    max_document: Count | None = None
    """Characters above which a text was cut into several documents."""
    eos_token_id: Count | None = None
    """The token that joins the documents of a pack; None if they are not joined."""
    warnings: list[Label] = []
