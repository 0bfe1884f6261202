"""The state of a first pass on disk: checkpoints, finished shards, and their merge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.records.pass1.contexts import context_hashes
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.strongest import Entries
from neuron_signatures.runs.arrays import ArrayFile, LaterArray, nbytes, write_arrays
from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, POLES, RECORDS
from neuron_signatures.runs.sharding.files import ShardFiles

_VERSION = 2
_HEADER = "state"
PASS1 = "pass1"
"""The name of the first pass in the names of files and locks."""


class Header(BaseModel):
    """Where a pass stands: blocks `first` to `stop` (excluded) are its own, those before `next` are done."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int = _VERSION
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
        arrays |= {f"{row}.{key}": value for key, value in _arrays(layer).items()}
    with whole_file(run_dir, name, below=RECORDS, needed=nbytes(arrays)) as file:
        write_arrays(file, arrays, {_HEADER: state.header.model_dump_json()})


def read_header(run_dir: Path, name: str) -> Header:
    """The header of a state. Raises `BadRunError` if the file is missing or damaged."""
    path = run_dir / RECORDS / name
    with ArrayFile(path) as file:
        return _header(file, path)


def load_state(run_dir: Path, name: str, corpus: Corpus, devices: Sequence[torch.device]) -> State:
    """The state, with the records of each layer on its device."""
    path = run_dir / RECORDS / name
    with ArrayFile(path) as file:
        header = _header(file, path)
        layers = [_layer(file, row, header, corpus, device) for row, device in enumerate(devices)]
    return State(header, layers)


def merge_layer(into: LayerRecords, other: LayerRecords) -> None:
    """Add the records of other documents. Lists do not depend on the order of merging; sums do in the last bits."""
    for mine, theirs in zip(into.lists, other.lists, strict=True):
        for kept, new in zip(mine, theirs, strict=True):
            kept.add(Entries(*(getattr(new, name)[:, : new.k].T for name in Entries._fields)))
            kept.compact()
    into.sums += other.sums.to(into.sums.device)
    into.count += other.count
    into.histogram += other.histogram.to(into.histogram.device)
    into.left_out += other.left_out


def merged_layers(run_dir: Path, names: Sequence[str], n_layers: int, corpus: Corpus) -> Iterator[LayerRecords]:
    """The records of one layer after the other, merged over finished states; one layer is in memory at a time."""
    cpu = torch.device("cpu")
    for row in range(n_layers):
        found = None
        for name in names:
            path = run_dir / RECORDS / name
            with ArrayFile(path) as file:
                layer = _layer(file, row, _header(file, path), corpus, cpu)
            if found is None:
                found = layer
            else:
                merge_layer(found, layer)
        assert found is not None
        yield found


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


def _layer(file: ArrayFile, row: int, header: Header, corpus: Corpus, device: torch.device) -> LayerRecords:
    value, window, pos = (torch.from_numpy(file.read(f"{row}.{key}")) for key in ("value", "window", "pos"))
    n, n_parts, n_poles, k = value.shape
    if (n_parts, n_poles) != (len(PARTS), len(POLES)) or not value.shape == window.shape == pos.shape:
        raise BadRunError("its lists have unexpected shapes", where=str(file.path))
    context = torch.from_numpy(entry_contexts(corpus, window.numpy(), pos.numpy()))
    layer = LayerRecords(n, k, device)
    for part in range(n_parts):
        for pole in range(n_poles):
            entries = Entries(*(x[:, part, pole].T.contiguous().to(device) for x in (value, window, pos, context)))
            layer.lists[part][pole].add(entries)
            layer.lists[part][pole].compact()
    layer.sums += torch.from_numpy(file.read(f"{row}.sums")).to(device)
    layer.count += torch.from_numpy(file.read(f"{row}.count"))
    layer.histogram += torch.from_numpy(file.read(f"{row}.histogram")).to(device)
    layer.left_out = int(file.read(f"{row}.left_out")[0])
    return layer


def entry_contexts(corpus: Corpus, window: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """`context_hashes` at the positions of entries; 0 where there is none (window -1)."""
    found = np.zeros(window.shape, dtype=np.int64)
    pairs = window.astype(np.int64).reshape(-1) << 16 | pos.astype(np.int64).reshape(-1)
    distinct, back = np.unique(pairs, return_inverse=True)
    hashes = np.zeros(len(distinct), dtype=np.int64)
    windows = distinct >> 16
    for start, stop in _runs(windows):
        if windows[start] < 0:
            continue
        tokens = corpus.token_ids(int(windows[start]))
        hashes[start:stop] = context_hashes(tokens[None])[0][distinct[start:stop] & 0xFFFF]
    found.reshape(-1)[:] = hashes[back.reshape(-1)]
    return found


def _runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of each run of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
    yield from zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True) if len(values) else ()


def _header(file: ArrayFile, path: Path) -> Header:
    try:
        return Header.model_validate(parse_json(file.metadata[_HEADER].encode()))
    except (KeyError, ValueError) as e:
        raise BadRunError(f"not the state of a first pass ({e})", where=str(path)) from e
