"""The index pass: reads a source of documents and writes the corpus files of a run.

Reads   a source of documents; records/corpus_partial.* when it is resumed
Writes  records/{corpus.safetensors, documents.parquet, vocabulary.parquet, corpus_meta.json}

Memory does not depend on the size of the corpus, but for about 100 bytes per document that was read. A pass that was
killed at any moment and resumed writes the same bytes as an uninterrupted one, except for `created_at_utc`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.tokens import tokenizer_sha256
from neuron_signatures.records.corpus.assemble import assemble
from neuron_signatures.records.corpus.encode import encode_documents
from neuron_signatures.records.corpus.journal import JOURNAL, Batch, Entry, Journal, has_journal, tokens_sha256
from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.corpus.reading import TOO_SHORT, Document, Dropped, Reading, batches, skip_read
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.cutting import cut_items
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.records.corpus.windows import count_windows, tokens_of_windows
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS_META, PARTS, RECORDS
from neuron_signatures.runs.records.stage_meta import check_sizes, read_meta
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.writer import refuse_differences

Progress = Callable[[int, int], None]
"""Called with the numbers of documents and tokens that are stored so far."""


def build_corpus(
    source: Source,
    settings: CorpusSettings,
    tokenizer: TokenizerBase,
    writer: ResultsWriter,
    *,
    resume: bool = False,
    progress: Progress = lambda documents, tokens: None,
) -> CorpusMeta:
    """Read the source and write the corpus files; `writer` is that of `records/`.

    With `resume`, continue the pass that was stopped in this folder, or return the record of the finished corpus;
    without, start again. Raises `UsageError` for an empty corpus, for other settings or a changed source on resume, and
    what the source raises; documents that were read before an error are kept for `resume`.
    """
    identity = corpus_identity(source, settings, tokenizer)
    if resume and not has_journal(writer.run_dir) and (finished := _finished(writer.run_dir, identity)) is not None:
        return finished
    journal = Journal(writer.run_dir, identity, resume=resume)
    try:
        if journal.last is None or not journal.last.finished:
            _read(source, settings, tokenizer, journal, progress)
        assert journal.last is not None
        if not journal.last.n_tokens:
            raise _empty(identity["source"], journal)
        meta = assemble(journal, settings, tokenizer, writer, identity)
    finally:
        journal.close()
        if journal.last is None:  # nothing was read: nothing to resume
            journal.remove()
    journal.remove()
    return meta


def corpus_identity(source: Source, settings: CorpusSettings, tokenizer: TokenizerBase) -> dict[str, Any]:
    """Everything that decides the corpus files, as JSON values."""
    eos = settings.eos_token_id if settings.concatenate else None
    resolved = {**asdict(settings), "stride": settings.step, "parts": list(settings.parts), "eos_token_id": eos}
    return {"source": source.describe(), **resolved, "tokenizer_sha256": tokenizer_sha256(tokenizer)}


def _finished(run_dir: Path, identity: dict[str, Any]) -> CorpusMeta | None:
    """The record of the corpus that is there, None if there is none or it is damaged."""
    try:
        meta = read_meta(run_dir, CORPUS_META, CorpusMeta)
        check_sizes(run_dir, meta)
    except (UsageError, BadRunError):
        return None
    before = {k: v for k, v in meta.model_dump().items() if k in identity}
    before["parts"] = [meta.parts[p] for p in PARTS]
    refuse_differences(before, identity, run_dir / RECORDS / CORPUS_META, next_step="Give the same flags")
    return meta


def _read(
    source: Source, settings: CorpusSettings, tokenizer: TokenizerBase, journal: Journal, progress: Progress
) -> None:
    """Append the documents of the source to the journal, up to a limit or the end."""
    items, reading = cut_items(source.items(), settings.max_document), Reading()
    last = journal.last
    if last is not None:
        skip_read(items, reading, n=last.n_read, sha256=last.read_sha256, where=str(journal.folder / JOURNAL))
    state = _State.of(journal)
    progress(state.n_documents, state.n_tokens)
    for found in batches(items, reading):
        documents = [d for d in found if isinstance(d, Document)]
        ids = iter(encode_documents(tokenizer, [d.text for d in documents]))
        entries, tokens, stopped = state.add(found, ids, settings)
        journal.append(state.batch(reading, entries, tokens, stopped), tokens)
        progress(state.n_documents, state.n_tokens)
        if stopped:
            return
    journal.append(state.batch(reading, [], [], None, finished=True), [])


class _State:
    """Counts of the documents that are stored so far."""

    def __init__(self, n_documents: int, n_tokens: int, n_windows: int, dropped: Counter[str]) -> None:
        self.n_documents, self.n_tokens, self.n_windows, self.dropped = n_documents, n_tokens, n_windows, dropped

    @classmethod
    def of(cls, journal: Journal) -> _State:
        last = journal.last
        if last is None:
            return cls(0, 0, 0, Counter())
        return cls(sum(len(b.documents) for b in journal.batches()), last.n_tokens, last.n_windows,
                   Counter(last.dropped))  # fmt: skip

    def add(self, found: list[Document | Dropped], ids: Any, settings: CorpusSettings) -> _Added:
        """The documents of a batch that are stored, in order, up to the one that reaches a limit."""
        entries: list[Entry] = []
        tokens: list[np.ndarray] = []
        for item in found:
            if isinstance(item, Dropped):
                self.dropped[item.reason] += 1
                continue
            kept = next(ids)
            if _n_windows(len(kept), settings) == 0:
                self.dropped[TOO_SHORT] += 1
                continue
            kept, stopped = self._limited(kept, settings)
            n_windows = _n_windows(len(kept), settings)
            if n_windows:
                part = part_index(item.digest, seed=settings.seed, percent=settings.parts)
                entries.append(Entry(item.name, item.digest.hex(), part, len(kept)))
                tokens.append(kept)
                self.n_documents, self.n_tokens = self.n_documents + 1, self.n_tokens + len(kept)
                self.n_windows += n_windows
            if stopped:
                return _Added(entries, tokens, stopped)
        return _Added(entries, tokens, None)

    def batch(
        self, reading: Reading, entries: list[Entry], tokens: list[np.ndarray], stopped: str | None,
        *, finished: bool = False,
    ) -> Batch:  # fmt: skip
        return Batch(
            documents=entries, n_read=reading.n_read, read_sha256=reading.sha256, n_tokens=self.n_tokens,
            n_windows=self.n_windows, tokens_sha256=tokens_sha256(tokens), dropped=dict(sorted(self.dropped.items())),
            finished=finished or stopped is not None, stopped=stopped,
        )  # fmt: skip

    def _limited(self, ids: np.ndarray, settings: CorpusSettings) -> tuple[np.ndarray, str | None]:
        """The tokens up to the limit, and the limit if they reach it."""
        if settings.max_tokens is not None and self.n_tokens + len(ids) >= settings.max_tokens:
            ids, stopped = ids[: settings.max_tokens - self.n_tokens], "max_tokens"
        else:
            stopped = None
        if settings.max_windows is not None:
            left = settings.max_windows - self.n_windows
            if _n_windows(len(ids), settings) >= left:
                return ids[: tokens_of_windows(len(ids), left, settings)], "max_sequences"
        return ids, stopped


class _Added(NamedTuple):
    entries: list[Entry]
    tokens: list[np.ndarray]
    stopped: str | None


def _n_windows(n_tokens: int, settings: CorpusSettings) -> int:
    """Windows of a document. With `concatenate` its share of a pack is not known: at least one, by its length."""
    if settings.concatenate:
        return -(-n_tokens // settings.step)
    return count_windows(n_tokens, settings)


def _empty(source: dict[str, Any], journal: Journal) -> UsageError:
    assert journal.last is not None
    dropped = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in journal.last.dropped.items())
    stopped = journal.last.stopped
    journal.remove()
    what = "the corpus has no text" + (f" that can be used ({dropped})" if dropped else "")
    where = source.get("path") or source.get("dataset") or source.get("kind")
    next_step = "Give a file or folder with UTF-8 text"
    if stopped is not None:
        what, next_step = f"--{stopped} leaves no position that counts", f"Raise --{stopped}"
    return UsageError(what, where=f"corpus {where}", next_step=next_step)
