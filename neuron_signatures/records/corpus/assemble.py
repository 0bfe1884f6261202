"""Makes the corpus files of the documents that the index pass stored."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO

import numpy as np
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.tokens import token_strings
from neuron_signatures.records.corpus.journal import Journal
from neuron_signatures.records.corpus.packs import Pack, packs, single
from neuron_signatures.records.corpus.reading import TOO_SHORT
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.windows import cut_windows
from neuron_signatures.runs.files import counted, explain_os_errors
from neuron_signatures.runs.records.corpus_files import (
    CorpusArrays,
    DocumentRow,
    write_corpus_arrays,
    write_documents,
    write_vocabulary,
)
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS_META, PARTS, RECORDS_META, SAMPLE_META, Part
from neuron_signatures.runs.results import ResultsWriter

STAGE = "poc4_extract_records"
_MOST_IDS = 1 << 22  # more than any tokenizer has
_DOCUMENTS_AT_ONCE = 1 << 10
FEW_DOCUMENTS = 20
"""A part with fewer documents gets a warning: the lists keep one window of each."""


def assemble(
    journal: Journal, settings: CorpusSettings, tokenizer: TokenizerBase, writer: ResultsWriter,
    identity: dict[str, Any],
) -> CorpusMeta:  # fmt: skip
    """Write the corpus files, the stage record last. Records of neurons on an earlier corpus become invalid."""
    writer.begin(CORPUS_META, companions=(RECORDS_META, SAMPLE_META))
    with explain_os_errors(writer.folder), contextlib.ExitStack() as stack:
        counts = _Counts()
        stored = stack.enter_context(journal.open_tokens())
        columns = _Columns(stack, str(writer.folder), None if settings.concatenate else stored)
        found = packs(journal.entries(), stored, settings) if settings.concatenate else single(
            journal.entries(), stored)  # fmt: skip
        write_documents(writer, _rows(found, settings, columns, counts))
        arrays = columns.arrays()
        write_corpus_arrays(writer, arrays)
        ids = np.flatnonzero(counts.vocabulary).tolist()
        write_vocabulary(writer, ids, token_strings(tokenizer, ids))
        meta = _meta(journal, settings, identity, counts)
        writer.record(CORPUS_META, meta.fields())
    return meta


class _Columns:
    """The arrays of the corpus, in unnamed temporary files of the folder. `tokens` is a file that has them already."""

    def __init__(self, stack: contextlib.ExitStack, folder: str, tokens: BinaryIO | None) -> None:
        self._files: dict[str, IO[bytes]] = {} if tokens is None else {"tokens": tokens}
        self._waiting: dict[str, list[np.ndarray]] = {}
        for name in CorpusArrays._fields:
            if name not in self._files:
                self._files[name] = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
                self._waiting[name] = []

    def add(self, **values: np.ndarray) -> None:
        """The arrays of one document."""
        for name, waiting in self._waiting.items():
            waiting.append(values[name])
        if len(self._waiting["window_start"]) >= _DOCUMENTS_AT_ONCE:
            self._write()

    def arrays(self) -> CorpusArrays:
        """Memory-mapped."""
        self._write()
        return CorpusArrays(**{
            name: np.memmap(self._files[name], dtype, "r") for name, dtype in CorpusArrays.dtypes().items()
        })  # fmt: skip

    def _write(self) -> None:
        dtypes = CorpusArrays.dtypes()
        for name, waiting in self._waiting.items():
            if waiting:
                self._files[name].write(np.concatenate(waiting).astype(dtypes[name]).data)
                self._files[name].flush()
                waiting.clear()


@dataclass
class _Counts:
    documents: Counter[Part] = field(default_factory=Counter)
    counted: Counter[Part] = field(default_factory=Counter)
    n_tokens: int = 0
    n_windows: int = 0
    too_short: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    vocabulary: np.ndarray = field(default_factory=lambda: np.zeros(_MOST_IDS, bool))
    """Whether each token id occurs."""


def _rows(found: Iterable[Pack], settings: CorpusSettings, columns: _Columns, counts: _Counts) -> Iterator[DocumentRow]:
    """The rows of the documents; their tokens and windows go to `columns`."""
    number = 0
    for pack in found:
        entry, windows = pack.entry, cut_windows(len(pack.tokens), settings)
        part, n_windows = PARTS[entry.part], len(windows.start)
        if not n_windows:  # only the last pack of a part can have none
            counts.too_short += pack.n_members
            continue
        columns.add(
            tokens=pack.tokens, window_start=counts.n_tokens + windows.start, window_length=windows.length,
            window_counted_from=windows.counted_from, window_document=np.full(n_windows, number),
        )  # fmt: skip
        yield DocumentRow(entry.name, entry.sha256, part, counts.n_windows, n_windows, counts.n_tokens, entry.n_tokens)
        counts.vocabulary[pack.tokens] = True
        counts.documents[part] += 1
        counts.counted[part] += windows.n_counted
        counts.n_tokens += entry.n_tokens
        counts.n_windows += n_windows
        counts.digest.update(bytes.fromhex(entry.sha256))
        number += 1


def _meta(journal: Journal, settings: CorpusSettings, identity: dict[str, Any], counts: _Counts) -> CorpusMeta:
    last = journal.last
    assert last is not None
    dropped = Counter(last.dropped)
    if counts.too_short:
        dropped[TOO_SHORT] += counts.too_short
    percent = dict(zip(PARTS, settings.parts, strict=True))
    few = [p for p in PARTS if percent[p] and counts.documents[p] < FEW_DOCUMENTS]
    warnings = [
        f"part {p} has {counted(counts.documents[p], 'document')}, and a list has at most one window of each; cut long "
        "texts with --max_document"
        for p in few
    ]
    return CorpusMeta(
        stage=STAGE,
        created_at_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=settings.seed,
        parts=percent,
        sequence_length=settings.sequence_length,
        stride=settings.step,
        skip_first=settings.skip_first,
        concatenate=settings.concatenate,
        prepend_bos=settings.bos_token_id is not None,
        bos_token_id=settings.bos_token_id,
        eos_token_id=identity["eos_token_id"],
        tokenizer_sha256=identity["tokenizer_sha256"],
        source=identity["source"],
        source_sha256=counts.digest.hexdigest(),
        max_tokens=settings.max_tokens,
        max_windows=settings.max_windows,
        max_document=settings.max_document,
        n_documents=sum(counts.documents.values()),
        n_windows=counts.n_windows,
        n_tokens=counts.n_tokens,
        n_counted=sum(counts.counted.values()),
        counted_by_part={p: counts.counted[p] for p in PARTS},
        documents_by_part={p: counts.documents[p] for p in PARTS},
        dropped=dict(sorted(dropped.items())),
        complete=last.stopped is None,
        stopped=last.stopped,
        warnings=warnings,
    )
