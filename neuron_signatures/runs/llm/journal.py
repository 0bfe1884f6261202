"""`llm/journal.jsonl`: every response of a language model as it arrived, one JSON object per line.

A line is handed to the operating system before the response is parsed, so that a killed process loses no paid answer,
and is on disk a few seconds later, for the case that the machine stops. A torn last line is ignored by readers and cut
off by the next writer. The key of a request comes first in the line, so that an index is built without parsing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.append_only import AppendOnlyFile
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.llm.names import LLM, RequestFiles
from neuron_signatures.runs.opening import folder_below, open_regular

SENT: Final = "sent"
KILLED: Final = "killed"
_MAX_LINE: Final = 32 << 20
_KEY: Final = slice(len('{"key":"'), len('{"key":"') + 64)
_ANSWERED: Final = b'","answered":true,'

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
        self._file: AppendOnlyFile | None = None
        self._reader: BinaryIO | None = None
        self._index: dict[str, list[int]] | None = None

    def append(self, received: Received) -> None:
        """Hand one line to the operating system. Raises `EnvironmentProblem` if the disk is full."""
        file = self._opened()
        start = file.size
        file.append(_line(received))
        if self._index is not None and received.answered:
            self._index.setdefault(received.key, []).append(start)

    def answered(self, key: str) -> list[Received]:
        """The answered requests of this key, in the order of their arrival."""
        return [found for offset in self._offsets().get(key, ()) if (found := self._read(offset)) is not None]

    def since(self, offset: int) -> Iterator[tuple[int, Received]]:
        """The lines from an offset on, each with the offset after it. Lines that are damaged are left out."""
        for start, raw in self._lines(offset):
            if (received := _received(raw)) is not None:
                yield start + len(raw), received

    @property
    def size(self) -> int:
        """Bytes up to the last whole line; 0 without a journal."""
        return self._opened().size if self._exists() else 0

    def close(self) -> None:
        """Sync and close. It can be used again."""
        if self._reader is not None:
            self._reader.close()
        if self._file is not None:
            self._file.close()
        self._file, self._reader, self._index = None, None, None

    def _exists(self) -> bool:
        return self._file is not None or os.path.lexists(self.path)

    def _opened(self) -> AppendOnlyFile:
        if self._file is None:
            with explain_os_errors(self.path), folder_below(self._files.run_dir, LLM, create=True):
                pass
            self._file = AppendOnlyFile(self._files.run_dir, self._files.journal, below=LLM, is_whole=lambda raw: True)
        return self._file

    def _offsets(self) -> dict[str, list[int]]:
        if self._index is None:
            self._index = {}
            for start, raw in self._lines(0):
                if raw[_KEY.stop : _KEY.stop + len(_ANSWERED)] == _ANSWERED:
                    self._index.setdefault(raw[_KEY].decode("ascii", "replace"), []).append(start)
        return self._index

    def _lines(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """The lines from an offset on, and where each starts."""
        if not self._exists():
            return
        file = self._for_reading()
        file.seek(offset)
        while (raw := file.readline(_MAX_LINE)).endswith(b"\n"):
            yield offset, raw
            offset += len(raw)

    def _read(self, offset: int) -> Received | None:
        file = self._for_reading()
        file.seek(offset)
        return _received(file.readline(_MAX_LINE))

    def _for_reading(self) -> BinaryIO:
        self._opened()  # a torn last line is removed first
        if self._reader is None:
            with explain_os_errors(self.path):
                self._reader = open_regular(self.path)
        return self._reader


def _line(received: Received) -> bytes:
    fields = {name: value for name, value in received if value not in (None, "")}
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def _received(raw: bytes) -> Received | None:
    try:
        return Received.model_validate_json(raw)
    except ValidationError:
        return None
