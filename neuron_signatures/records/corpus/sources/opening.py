"""Opens the files of a corpus, also gzipped ones, and checks that they are UTF-8 text."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.opening import NotReadableError, open_regular

_CHUNK = 1 << 18


class NotTextError(UsageError):
    """The file is not UTF-8 text."""


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedIOBase]:
    """The bytes of a file, of a `.gz` file those that were compressed.

    Raises `UsageError`, also within the block, for a missing or irregular file and for damaged gzip data.
    """
    where = str(path)
    try:
        with open_regular(path) as raw:
            packed = path.name.lower().endswith(".gz")
            yield gzip.GzipFile(fileobj=raw, mode="rb") if packed else cast(BufferedIOBase, raw)
    except NotReadableError as e:
        raise UsageError(str(e), where=where, next_step="Give a file; save the output of a command first") from e
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=where) from e
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        what = f"not a whole gzip file ({e})"
        raise UsageError(what, where=where, next_step="Copy or pack it again") from e
    except OSError as e:
        raise EnvironmentProblem(f"cannot be read ({e.strerror or e})", where=where) from e


def decoded(file: BufferedIOBase, path: Path) -> Iterator[str]:
    """The text of an open file in chunks, without a byte order mark. Raises `NotTextError` with the byte."""
    decoder, at = codecs.getincrementaldecoder("utf-8-sig")(), 0
    while True:
        raw = file.read(_CHUNK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as e:
            raise not_utf8(path, f"byte {at - pending + e.start}") from e
        if "\0" in text:
            raise NotTextError("has NUL characters, so it is not text", where=str(path), next_step="Remove it")
        if text:
            yield text
        if not raw:
            return
        at += len(raw)


def check_text(path: Path) -> None:
    """Raise `NotTextError` if the file is not UTF-8 text from beginning to end."""
    with open_file(path) as file:
        for _ in decoded(file, path):
            pass


def not_utf8(path: Path, at: str) -> NotTextError:
    step = "Convert it, for example with `iconv -f latin1 -t utf-8`, or remove it"
    return NotTextError(f"not UTF-8 ({at})", where=str(path), next_step=step)
