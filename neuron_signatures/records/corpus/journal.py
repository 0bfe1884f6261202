"""The unfinished corpus on disk: an append-only file of token ids and a journal of the documents in it.

The first line of the journal holds the settings that a resumed pass must share. Each further line is a batch: its
documents, what was read so far, and the checksum of its tokens. Tokens are synced before their line is written, so a
killed process leaves at most half a line or tokens without a line; both are cut off on resume.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_signatures.runs.files import explain_os_errors, remove_files
from neuron_signatures.runs.opening import open_in_place
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.writer import refuse_differences

TOKENS = "corpus_partial.tokens"
JOURNAL = "corpus_partial.jsonl"
_CHUNK = 1 << 22
_BUFFER = 1 << 20


class Entry(NamedTuple):
    """A stored document: its name, the hex sha256 of its text, the index of its part, and its tokens."""

    name: str
    sha256: str
    part: int
    n_tokens: int


class Batch(BaseModel):
    """One line of the journal. Counts are of everything up to and including this batch.

    `n_read` items of the source have the checksum `read_sha256`. `finished` says that reading is over, and `stopped`
    at which limit (None: the source ended).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: list[Entry]
    n_read: int
    read_sha256: str
    n_tokens: int
    n_windows: int
    tokens_sha256: str
    dropped: dict[str, int]
    finished: bool = False
    stopped: str | None = None


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    journal_version: int
    settings: dict[str, Any]


class Journal:
    """The two files, open for appending. `last` is the newest batch, None before the first."""

    def __init__(self, run_dir: Path, settings: dict[str, Any], *, resume: bool) -> None:
        self._run_dir, self.folder = run_dir, run_dir / RECORDS
        self.last: Batch | None = None
        if not resume:
            self.remove()
        with explain_os_errors(self.folder):
            self._tokens = os.fdopen(open_in_place(self.folder, TOKENS), "r+b", _BUFFER)
            self._lines = os.fdopen(open_in_place(self.folder, JOURNAL), "r+b", _BUFFER)
            try:
                self._begin(settings)
            except BaseException:
                self.close()
                raise

    def append(self, batch: Batch, tokens: list[np.ndarray]) -> None:
        """Store a batch durably. Raises `EnvironmentProblem` if the disk is full; earlier batches stay."""
        with explain_os_errors(self.folder / TOKENS, needed=sum(t.nbytes for t in tokens)):
            for array in tokens:
                self._tokens.write(array.data)
            _sync(self._tokens)
            self._lines.write(_line(batch.model_dump()))
            _sync(self._lines)
        self.last = batch

    def batches(self) -> Iterator[Batch]:
        """All batches from the first on."""
        with (self.folder / JOURNAL).open("rb") as file:
            file.readline()
            for raw in file:
                yield Batch.model_validate_json(raw)

    def entries(self) -> Iterator[Entry]:
        """All documents, in the order of their tokens."""
        for batch in self.batches():
            yield from batch.documents

    def open_tokens(self) -> BinaryIO:
        """The file of the tokens of all documents, int32. (A memory map would count as memory of this process.)"""
        return (self.folder / TOKENS).open("rb")

    def close(self) -> None:
        for file in (self._tokens, self._lines):
            with contextlib.suppress(OSError):  # what a full disk did not take; it was reported
                file.close()

    def remove(self) -> None:
        """Remove both files, the journal first."""
        remove_journal(self._run_dir)

    def _begin(self, settings: dict[str, Any]) -> None:
        """Continue after the last batch that is whole on disk, or write the header."""
        header = _header(self._lines.readline())
        if header is None:
            self._cut(0, 0)
            self._lines.write(_line({"journal_version": 1, "settings": settings}))
            _sync(self._lines)
            return
        before, now = flat_settings(header.settings), flat_settings(settings)
        refuse_differences(before, now, self.folder / JOURNAL, next_step="Give the same flags")
        end, n_tokens = self._lines.tell(), 0
        while (raw := self._lines.readline()).endswith(b"\n"):
            batch = _batch(raw)
            if batch is None or not self._has_tokens(batch, batch.n_tokens - n_tokens):
                break
            self.last, n_tokens, end = batch, batch.n_tokens, self._lines.tell()
        self._cut(end, 4 * n_tokens)

    def _has_tokens(self, batch: Batch, n: int) -> bool:
        """Whether the next `n` tokens of the file are those of the batch."""
        digest, missing = hashlib.sha256(), 4 * n
        while missing > 0 and (raw := self._tokens.read(min(missing, _CHUNK))):
            digest.update(raw)
            missing -= len(raw)
        return missing == 0 and digest.hexdigest() == batch.tokens_sha256

    def _cut(self, lines_end: int, tokens_end: int) -> None:
        for file, end in ((self._lines, lines_end), (self._tokens, tokens_end)):
            file.seek(end)
            file.truncate()


def has_journal(run_dir: Path) -> bool:
    """Whether there is an unfinished corpus, which can be resumed."""
    return (run_dir / RECORDS / JOURNAL).is_file()


def flat_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings and those of the dicts in them, which get names such as `source.path`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = flat_settings(value) if isinstance(value, dict) else None
        found |= {key: value} if nested is None else {f"{key}.{k}": v for k, v in nested.items()}
    return found


def remove_journal(run_dir: Path) -> None:
    """Remove an unfinished corpus, the journal first."""
    remove_files(run_dir, [JOURNAL, TOKENS], below=RECORDS)


def tokens_sha256(tokens: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in tokens:
        digest.update(array.data)
    return digest.hexdigest()


def _header(raw: bytes) -> _Header | None:
    try:
        return _Header.model_validate_json(raw) if raw.endswith(b"\n") else None
    except ValidationError:
        return None


def _batch(raw: bytes) -> Batch | None:
    try:
        return Batch.model_validate_json(raw)
    except ValidationError:
        return None


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
