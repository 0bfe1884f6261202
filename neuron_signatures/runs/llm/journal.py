"""`llm/journal.jsonl`: every response of a language model as it arrived, one JSON object per line.

A line is handed to the operating system before the response is parsed, so that a killed process loses no paid answer,
and is on disk a few seconds later, for the case that the machine stops. A torn last line is ignored by readers and cut
off by the next writer. The key of a request comes first in the line, so that an index is built without parsing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.files import explain_os_errors, whole_file
from neuron_signatures.runs.llm.names import LLM, RequestFiles
from neuron_signatures.runs.opening import folder_below, has_second_name, open_in_place

SYNC_SECONDS: Final = 5.0
SENT: Final = "sent"
KILLED: Final = "killed"
_MAX_LINE: Final = 32 << 20
_KEY: Final = slice(len('{"key":"'), len('{"key":"') + 64)
_ANSWERED: Final = b'","answered":true,'
_CHUNK: Final = 1 << 16


Tokens = Annotated[int, Field(ge=0, lt=1 << 53)]


class Received(BaseModel):
    """One HTTP request, response or failed attempt, or one answer of a model in this process.

    `answered` is true for HTTP responses of code 200 and for local answers: only they can be used instead of asking
    again. `http_status` is 0 and `body` empty if no response came, and `lost` says why. `answer` is a local answer.

    With `lost` being `SENT`, it is a request that is about to be sent. It counts only if no later line says what became
    of it: its process was killed. The next process then adds a line whose `lost` is `KILLED`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """sha256 of the server, the model, the messages and the parameters."""
    answered: bool
    stage: Annotated[str, Field(max_length=100)]
    model: Annotated[str, Field(max_length=500)]
    """As it was asked for."""
    at_utc: Annotated[str, Field(max_length=40)]
    seconds: Annotated[float, Field(strict=False, ge=0)]
    http_status: Annotated[int, Field(ge=0, lt=1000)] = 0
    lost: Annotated[str, Field(max_length=40)] = ""
    body: str = ""
    answer: dict[str, Any] | None = None
    most_tokens: tuple[Tokens, Tokens] | None = None
    """Bounds on the tokens of the prompt and of the answer, for responses that do not say how many there were."""


class Journal:
    """The journal of one writer. Nothing is opened before it is needed: a finished stage reads no line of it."""

    def __init__(self, files: RequestFiles) -> None:
        self.path = files.folder / files.journal
        self._files = files
        self._file: BinaryIO | None = None
        self._end = 0
        self._synced = time.monotonic()
        self._index: dict[str, list[int]] | None = None

    def append(self, received: Received) -> None:
        """Hand one line to the operating system. Raises `EnvironmentProblem` if the disk is full."""
        line = _line(received)
        file = self._opened()
        with explain_os_errors(self.path, needed=len(line)):
            file.write(line)
            file.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync(file)
        if self._index is not None and received.answered:
            self._index.setdefault(received.key, []).append(self._end)
        self._end += len(line)

    def answered(self, key: str) -> list[Received]:
        """The answered requests of this key, in the order of their arrival."""
        return [found for offset in self._offsets().get(key, ()) if (found := self._read(offset)) is not None]

    def since(self, offset: int) -> Iterator[tuple[int, Received]]:
        """The lines from an offset on, each with the offset after it. Lines that are damaged are left out."""
        if not self._exists():
            return
        file = self._opened()
        file.seek(offset)
        while (raw := file.readline(_MAX_LINE)).endswith(b"\n"):
            offset += len(raw)
            if (received := _received(raw)) is not None:
                yield offset, received
        file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Bytes up to the last whole line; 0 without a journal."""
        if self._exists():
            self._opened()
        return self._end

    def close(self) -> None:
        """Sync and close. It can be used again."""
        if self._file is not None:
            with explain_os_errors(self.path):
                self._sync(self._file)
                self._file.close()
            self._file, self._index = None, None

    def _exists(self) -> bool:
        return self._file is not None or os.path.lexists(self.path)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = self._open()
            self._end = _cut_torn_line(self._file)
        return self._file

    def _open(self) -> BinaryIO:
        with explain_os_errors(self.path), folder_below(self._files.run_dir, LLM, create=True):
            file = os.fdopen(open_in_place(self._files.folder, self._files.journal), "r+b")
            if not has_second_name(file.fileno()):
                return file
            with file, whole_file(self._files.folder, self._files.journal) as own:  # a copy by `cp -al`
                shutil.copyfileobj(file, own)
            return os.fdopen(open_in_place(self._files.folder, self._files.journal), "r+b")

    def _sync(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        self._synced = time.monotonic()

    def _offsets(self) -> dict[str, list[int]]:
        if self._index is None:
            self._index = {}
            if self._exists():
                self._build(self._opened(), self._index)
        return self._index

    def _build(self, file: BinaryIO, index: dict[str, list[int]]) -> None:
        file.seek(0)
        offset = 0
        while raw := file.readline(_MAX_LINE):
            if raw[_KEY.stop : _KEY.stop + len(_ANSWERED)] == _ANSWERED:
                index.setdefault(raw[_KEY].decode("ascii", "replace"), []).append(offset)
            offset += len(raw)
        file.seek(0, os.SEEK_END)

    def _read(self, offset: int) -> Received | None:
        file = self._opened()
        file.seek(offset)
        raw = file.readline(_MAX_LINE)
        file.seek(0, os.SEEK_END)
        return _received(raw)


def _line(received: Received) -> bytes:
    fields = {name: value for name, value in received if value not in (None, "")}
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _received(raw: bytes) -> Received | None:
    try:
        return Received.model_validate_json(raw)
    except ValidationError:
        return None


def _cut_torn_line(file: BinaryIO) -> int:
    """Remove what follows the last newline; returns the size."""
    end = file.seek(0, os.SEEK_END)
    at = end
    while at:
        start = max(0, at - _CHUNK)
        file.seek(start)
        newline = file.read(at - start).rfind(b"\n")
        if newline >= 0:
            at = start + newline + 1
            break
        at = start
    if at < end:
        file.truncate(at)
    file.seek(0, os.SEEK_END)
    return at
