"""The state of a first pass on disk: checkpoints, finished shards, and their merge."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.records.pass1.contexts import entry_contexts
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.strongest import Entries
from neuron_signatures.runs.arrays import ArrayFile, LaterArray, nbytes, write_arrays
from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, POLES, RECORDS
from neuron_signatures.runs.sharding.files import ShardFiles

STATE_VERSION = 2
_HEADER = "state"
_CRC = ".crc32"
PASS1 = "pass1"
"""The name of the first pass in the names of files and locks."""


class Header(BaseModel):
    """Where a pass stands: blocks `first` to `stop` (excluded) are its own, those before `next` are done."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int = STATE_VERSION
    settings: dict[str, Any]
    """Everything that the numbers depend on; passes with other settings do not merge."""
    first: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=0)]
    next: Annotated[int, Field(ge=0)]
    n_tokens: Annotated[int, Field(ge=0)]
    """Positions that were counted."""
    devices: list[str]
    """Names of the devices that ran it."""
    attention: list[str]
    """Implementations of attention that it ran with."""
    seconds: float
    """Time of the forward passes and everything between them."""

    @property
    def finished(self) -> bool:
        return self.next == self.stop


class State(NamedTuple):
    """A header and the records of each layer."""

    header: Header
    layers: list[LayerRecords]


def state_files(run_dir: Path) -> ShardFiles:
    """The files of the states in a run."""
    return ShardFiles(run_dir / RECORDS, PASS1, ".safetensors")


def save_state(run_dir: Path, name: str, state: State) -> None:
    """Replace the file by the current state. The lists are compacted. One array at a time is copied."""
    arrays: dict[str, LaterArray] = {}
    for row, layer in enumerate(state.layers):
        layer.compact()
        for key, array in _arrays(layer).items():
            arrays |= _with_checksum(f"{row}.{key}", array)
    with whole_file(run_dir, name, below=RECORDS, needed=nbytes(arrays)) as file:
        write_arrays(file, arrays, {_HEADER: state.header.model_dump_json()})


def read_header(run_dir: Path, name: str) -> Header:
    """The header of a state. Raises `BadRunError` if the file is missing or damaged."""
    path = run_dir / RECORDS / name
    with _opened(path) as file:
        return _header(file, path)


def load_state(run_dir: Path, name: str, corpus: Corpus, devices: Sequence[torch.device]) -> State:
    """The state, with the records of each layer on its device."""
    path = run_dir / RECORDS / name
    with _opened(path) as file:
        header = _header(file, path)
        layers = [_layer(file, row, device, corpus) for row, device in enumerate(devices)]
    return State(header, layers)


def merged_layers(run_dir: Path, names: Sequence[str], n_layers: int, corpus: Corpus) -> Iterator[LayerRecords]:
    """The records of one layer after the other, merged over finished states; one layer is in memory at a time.

    Lists do not depend on the order of the states; sums do in the last bits.
    """
    first, *others = (run_dir / RECORDS / name for name in names)
    for row in range(n_layers):
        with _opened(first) as file:
            found = _layer(file, row, torch.device("cpu"), corpus if others else None)
        for path in others:
            with _opened(path) as file:
                _add_layer(found, file, row, corpus)
        if others:
            found.compact()
        yield found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ArrayFile]:
    """A state for reading. A `BadRunError` about it says how to go on."""
    try:
        with ArrayFile(path) as file:
            yield file
    except BadRunError as e:
        if e.where != str(path) or e.next_step:  # of the corpus
            raise
        next_step = "Remove this file and repeat the command that wrote it"
        raise BadRunError(e.what, where=e.where, next_step=next_step) from e


def _with_checksum(key: str, array: LaterArray) -> dict[str, LaterArray]:
    """The array, and after it its CRC-32, which is known when the array has been made."""
    crc = 0

    def make() -> np.ndarray:
        nonlocal crc
        made = array.make()
        crc = zlib.crc32(np.ascontiguousarray(made).data)
        return made

    checksum = LaterArray(np.dtype("u4"), (1,), lambda: np.array([crc], dtype=np.uint32))
    return {key: LaterArray(array.dtype, array.shape, make), f"{key}{_CRC}": checksum}


def _read(file: ArrayFile, key: str) -> np.ndarray:
    """An array. Raises `BadRunError` if it is not the one that was written."""
    found = file.read(key)
    if zlib.crc32(np.ascontiguousarray(found).data) != int(file.read(f"{key}{_CRC}")[0]):
        raise BadRunError(f"the checksum of {key} is wrong", where=str(file.path))
    return found


def _arrays(layer: LayerRecords) -> dict[str, LaterArray]:
    n_powers, n = layer.sums.shape[1:]

    def stacked(name: str, dtype: str) -> LaterArray:
        """[neuron, part, pole, k]"""

        def make() -> np.ndarray:
            of = [torch.stack([getattr(lists, name)[:, : lists.k] for lists in poles]) for poles in layer.lists]
            found: np.ndarray = torch.stack(of).permute(2, 0, 1, 3).contiguous().cpu().numpy()
            return found

        return LaterArray(np.dtype(dtype), (n, len(PARTS), len(POLES), layer.lists[0][0].k), make)

    return {
        "value": stacked("value", "f4"),
        "window": stacked("window", "i4"),
        "pos": stacked("pos", "i2"),
        "sums": LaterArray(np.dtype("f8"), (len(PARTS), n_powers, n), lambda: layer.sums.cpu().numpy()),
        "count": LaterArray(np.dtype("i8"), (len(PARTS),), layer.count.numpy),
        "histogram": LaterArray(np.dtype("i4"), tuple(layer.histogram.shape), lambda: layer.histogram.cpu().numpy()),
        "left_out": LaterArray(np.dtype("i8"), (1,), lambda: np.array([layer.left_out], dtype=np.int64)),
    }


class _StoredLists(NamedTuple):
    """Axes `neuron part pole rank`; `window` is -1 where there is no entry."""

    value: np.ndarray
    window: np.ndarray
    pos: np.ndarray


def _layer(file: ArrayFile, row: int, device: torch.device, corpus: Corpus | None) -> LayerRecords:
    """The records of a layer. Without a corpus, its lists have no contexts, and nothing can be added to them."""
    stored = _stored_lists(file, row)
    n, n_parts, n_poles, k = stored.value.shape
    there = stored.window >= 0
    context = np.zeros(there.shape, np.int64) if corpus is None else _contexts(stored, there, corpus, file.path)
    layer = LayerRecords(n, k, device)
    for part, pole in itertools.product(range(n_parts), range(n_poles)):
        kept = (torch.from_numpy(x[:, part, pole]).to(device) for x in (*stored, context))
        layer.lists[part][pole].restore(Entries(*kept))
    _add_sums(layer, file, row)
    return layer


def _add_layer(into: LayerRecords, file: ArrayFile, row: int, corpus: Corpus) -> None:
    """Add the records of other documents. Contexts are needed only of entries above the thresholds of the lists."""
    stored = _stored_lists(file, row)
    bounds = torch.stack([torch.stack([lists.threshold for lists in poles]) for poles in into.lists])
    enters = (stored.value >= bounds.permute(2, 0, 1).cpu().numpy()[..., None]) & (stored.window >= 0)
    context = _contexts(stored, enters, corpus, file.path)
    for part, poles in enumerate(into.lists):
        for pole, lists in enumerate(poles):
            n = int(np.flatnonzero(enters[:, part, pole].any(0)).max(initial=-1)) + 1
            new = (torch.from_numpy(x[:, part, pole, :n].T) for x in (*stored, context))
            lists.add(Entries(*(x.to(into.device) for x in new)))
    _add_sums(into, file, row)


def _stored_lists(file: ArrayFile, row: int) -> _StoredLists:
    """Raises `BadRunError` if they are not what `save_state` writes."""
    found = _StoredLists(*(_read(file, f"{row}.{key}") for key in _StoredLists._fields))
    value, window, pos = found
    if value.shape[1:3] != (len(PARTS), len(POLES)) or not value.shape == window.shape == pos.shape:
        raise BadRunError("its lists have unexpected shapes", where=str(file.path))
    if not (value[..., 1:] <= value[..., :-1]).all() or ((window < 0) != (value == -np.inf)).any():
        raise BadRunError("its lists are not sorted", where=str(file.path))
    return found


def _contexts(stored: _StoredLists, chosen: np.ndarray, corpus: Corpus, path: Path) -> np.ndarray:
    """The contexts of the chosen entries, 0 elsewhere. They are not stored: states would be 1.7 times as large."""
    window, pos = stored.window[chosen], stored.pos[chosen]
    if int(window.max(initial=-1)) >= corpus.n_windows or (
        (pos < 0) | (pos >= corpus.window_length[window])).any():  # fmt: skip
        raise BadRunError("its lists name positions that the corpus does not have", where=str(path))
    found = np.zeros(chosen.shape, dtype=np.int64)
    found[chosen] = entry_contexts(corpus, window, pos)
    return found


def _add_sums(layer: LayerRecords, file: ArrayFile, row: int) -> None:
    layer.sums += torch.from_numpy(_read(file, f"{row}.sums")).to(layer.device)
    layer.count += torch.from_numpy(_read(file, f"{row}.count"))
    layer.histogram += torch.from_numpy(_read(file, f"{row}.histogram")).to(layer.device)
    layer.left_out += int(_read(file, f"{row}.left_out")[0])


def _header(file: ArrayFile, path: Path) -> Header:
    try:
        return Header.model_validate(parse_json(file.metadata[_HEADER].encode()))
    except (KeyError, ValueError) as e:
        raise BadRunError(f"not the state of a first pass ({e})", where=str(path)) from e
