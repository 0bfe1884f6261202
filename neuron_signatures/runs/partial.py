"""Stores the arrays of a long computation, so that an interrupted one can resume."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.opening import open_regular
from neuron_signatures.runs.results import ResultsWriter, partial_name, shortened
from neuron_signatures.runs.sharding.files import ShardFiles
from neuron_signatures.runs.sharding.shard import Shard
from neuron_signatures.runs.writer import refuse_differences

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]

_EVERY_SECONDS = 20.0
_MOST_SHARE = 0.05  # of the time, for writing
_SETTINGS_BYTES = 64 << 20
_SETTINGS = "settings"
_RESERVED = (_SETTINGS, "file", "allow_pickle")  # parameters of `np.savez`
# What zipfile and numpy raise for damaged archives.
_DAMAGES = (
    OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, SyntaxError, TypeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class Partial:
    """The named arrays of an unfinished result, in one file of a stage folder, with the settings of the computation."""

    def __init__(self, writer: ResultsWriter, name: str, settings: Mapping[str, Any]) -> None:
        self._writer, self._name = writer, name
        self._settings: dict[str, Any] = json.loads(json.dumps(settings, default=str))
        self._saved, self._wait = time.monotonic(), _EVERY_SECONDS

    def load(self, *, max_bytes: int, like: Arrays | None = None) -> dict[str, np.ndarray]:
        """The arrays that an earlier process stored, empty if there are none.

        Raises `UsageError` with the differences if the settings were others. A damaged file is ignored, with a warning;
        so is one with arrays of more than `max_bytes` together, or of other names, shapes or dtypes than `like`.
        """
        path = self._writer.folder / self._name
        try:
            with open_regular(path) as f:
                stored = _read(f, max_bytes)
            if like is not None and _forms(stored.arrays) != _forms(like):
                raise ValueError("other arrays")
        except FileNotFoundError:
            return {}
        except _DAMAGES:
            log.warning("%s is damaged; starting again", self._name)
            return {}
        next_step = f"Give the same flags, or remove {self._name}"
        refuse_differences(stored.settings, self._settings, path, next_step=next_step)
        return stored.arrays

    def save(self, arrays: Arrays) -> None:
        """Write the arrays, at most every 20 seconds, and less often if writing them is slow."""
        if self.is_due:
            self.save_now(arrays)

    @property
    def is_due(self) -> bool:
        """Whether `save` would write."""
        return time.monotonic() - self._saved >= self._wait

    @contextlib.contextmanager
    def save_on_error(self, arrays: Callable[[], Arrays]) -> Iterator[None]:
        """Write the arrays if an exception ends the block (a signal, out of memory) and there are any."""
        finished = False
        try:
            yield
            finished = True
        finally:
            if not finished and (found := arrays()):
                self.save_now(found)

    def save_now(self, arrays: Arrays) -> None:
        """Write the arrays. A name is an identifier, and none of `_RESERVED`."""
        assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", n) and n not in _RESERVED for n in arrays), list(arrays)
        named: dict[str, Any] = {_SETTINGS: np.array(json.dumps(self._settings)), **arrays}
        start = time.monotonic()
        with self._writer.file(self._name) as f:
            np.savez(f, **named)
        self._saved = time.monotonic()
        self._wait = max(_EVERY_SECONDS, (self._saved - start) / _MOST_SHARE)

    def remove(self) -> None:
        """Remove the file, and those of its shards."""
        files = self.shard_files()
        for name in (self._name, *(files.name(shard) for shard in files.stored())):
            self._writer.remove(name)

    @property
    def stem(self) -> str:
        """The name of the computation, in the names of the files and locks of its shards."""
        return shortened(self._name.removesuffix(partial_name("")))

    def of_shard(self, shard: Shard) -> Partial:
        """The arrays of one shard of the computation, in a file of its own."""
        return Partial(self._writer, self.shard_files().name(shard), self._settings)

    def shard_files(self) -> ShardFiles:
        """The files of the shards of the computation."""
        return ShardFiles(self._writer.folder, self.stem, partial_name(""))


def stored_layers(
    partial: Partial,
    name: re.Pattern[str],
    layers: Collection[int],
    *,
    of: str,
    max_bytes: int,
    fits: Callable[[Arrays], bool],
) -> dict[int, dict[str, np.ndarray]]:
    """The arrays of each layer that an earlier process finished, by the layer and part that `name` matches.

    `of` says what has the layers, "run" or "model", for the log.
    Empty, with a line in the log, if its settings were others, or if any of them is of another layer or does not fit.
    """
    try:
        stored = partial.load(max_bytes=max_bytes)
    except UsageError:
        log.info("the finished layers of a stopped command are not used: its settings were others")
        return {}
    found: dict[int, dict[str, np.ndarray]] = {}
    for key, array in stored.items():
        layer, part = match.groups() if (match := name.fullmatch(key)) else ("-1", key)
        found.setdefault(int(layer), {})[part] = array
    if not found.keys() <= set(layers) or not all(map(fits, found.values())):
        log.warning("the stored layers are not those of this %s; starting again", of)
        return {}
    if found:
        log.info("resuming with %d of %d layers done", len(found), len(layers))
    return found


class _Stored(NamedTuple):
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


def _read(file: BinaryIO, max_bytes: int) -> _Stored:
    """The content of a partial file. Raises one of `_DAMAGES` for a damaged or too large one."""
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > max_bytes + _SETTINGS_BYTES:
            raise ValueError("larger than its arrays")
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        settings = parse_json(str(stored[_SETTINGS]).encode())
        arrays = {name: stored[name] for name in stored.files if name != _SETTINGS}
    if not isinstance(settings, dict) or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ValueError("other content")
    return _Stored(settings, arrays)


def _forms(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (a.shape, a.dtype) for name, a in arrays.items()}
