"""`Run` reads a run folder. It never locks and never writes."""

from __future__ import annotations

import copy
import stat
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.manifest import UNRECORDED, FileRecord, Manifest, PromptRecord
from neuron_signatures.runs.manifest_file import read_manifest
from neuron_signatures.runs.names import MANIFEST, inside, spans
from neuron_signatures.runs.opening import NotReadableError
from neuron_signatures.runs.tensors import Slice, TensorFile, open_any_tensors, open_tensors

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float32

Check = Literal["size", "sha256"]
_AGAIN = "Copy the run again, or repeat the dump"
MAX_OPEN = 32
"""Tensor files that a reader keeps open: a system may allow only 256 per process."""


class Run:
    """A complete run: its manifest and its activations, which are read on demand.

    Opening reads only the manifest. A tensor file is checked when it is first read: its size and its tensors must match
    the manifest, and with `check="sha256"` its checksum too. A broken file raises `BadRunError`; prompts in other files
    stay readable. At most `MAX_OPEN` files are open at a time. Not thread-safe.
    """

    def __init__(self, path: Path, manifest: Manifest, format_version: int, check: Check) -> None:
        self.path = path
        self.manifest = manifest
        self.format_version = format_version
        """The version on disk; `manifest` is always of format 2."""
        self._check = check
        self._open: OrderedDict[str, TensorFile] = OrderedDict()  # the least recently used first
        self._checked: set[str] = set()
        self._by_id = {p.probe_id: p for p in manifest.prompts}
        self._by_file: defaultdict[str, list[PromptRecord]] = defaultdict(list)
        for p in manifest.prompts:
            self._by_file[p.file].append(p)
        self._records = {f.name: f for f in manifest.files}
        self._rows = {layer: row for row, layer in enumerate(manifest.layers)}

    @classmethod
    def open(cls, path: str | Path, *, check: Check = "size") -> Run:
        """Open a run folder. Raises `BadRunError` if it is missing, incomplete, corrupt or has an unknown format."""
        path = Path(path)
        if not path.is_dir():
            raise BadRunError("there is no such run folder", where=str(path))
        manifest, version = read_manifest(path)
        return cls(path, manifest, version, check)

    @staticmethod
    def is_complete(path: Path) -> bool:
        """Whether the folder has a manifest, which is written after every tensor."""
        return (path / MANIFEST).exists()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for f in self._open.values():
            f.close()
        self._open.clear()

    @property
    def layers(self) -> list[int]:
        """The stored layers of the model, in order."""
        return self.manifest.layers

    def stores(self, layer: int, neuron: int) -> bool:
        """Whether the activations of this neuron are stored; results can name other neurons."""
        return layer in self._rows and 0 <= neuron < self.manifest.d_mlp

    @property
    def prompts(self) -> list[PromptRecord]:
        return self.manifest.prompts

    def prompt(self, which: str | int) -> PromptRecord:
        """The prompt with this id or index (from 0). A string of digits is an index unless it is an id."""
        if isinstance(which, str) and which in self._by_id:
            return self._by_id[which]
        if isinstance(which, int) or (which.isdecimal() and len(which) < 19):
            if 0 <= int(which) < len(self.prompts):
                return self.prompts[int(which)]
            raise UsageError(f"prompt index {which} is not in 0..{len(self.prompts) - 1}", where=str(self.path))
        some = ", ".join(p.probe_id for p in self.prompts[:5])
        next_step = f"`python -m neuron_signatures.runs show {self.path}` lists them"
        raise UsageError(f"no prompt {which!r} (there are {some}, ...)", where=str(self.path), next_step=next_step)

    def acts(
        self, prompt: str | int | PromptRecord, *, layer: int | None = None, pos: int | None = None,
        neuron: int | None = None,
    ) -> Float32[np.ndarray, "..."]:  # fmt: skip
        """Activations of one prompt, axes `layer pos neuron` without the given ones; only this part is read.

        `layer` is the layer number in the model, even if the run stores only some layers. Values are those on disk,
        converted to float32. Raises `UsageError` for a layer, position or neuron that the run does not have, and
        `BadRunError` for a broken file.
        """
        record = prompt if isinstance(prompt, PromptRecord) else self.prompt(prompt)
        if layer is not None and layer not in self._rows:
            raise UsageError(
                f"layer {layer} is not stored (layers {spans(self.layers, between=',')} are)", where=str(self.path)
            )
        if neuron is not None and not 0 <= neuron < self.manifest.d_mlp:
            raise UsageError(f"neuron {neuron} is not in 0..{self.manifest.d_mlp - 1}", where=str(self.path))
        if pos is not None and not 0 <= pos < record.seq_len:
            raise UsageError(
                f"position {pos} is not in 0..{record.seq_len - 1}", where=f"{self.path}, {record.probe_id}"
            )
        what = Slice(row=None if layer is None else self._rows[layer], pos=pos, neuron=neuron)
        return self._file(record.file).read(record, what)

    def tensor(self, prompt: str | int) -> torch.Tensor:
        """The tensor of one prompt as on disk: axes `layer pos neuron`, save dtype, on the CPU. A copy."""
        record = self.prompt(prompt)
        return self._file(record.file).tensor(record)

    def begins_with_bos(self, prompt: PromptRecord) -> bool:
        """Whether the token at position 0 is the BOS token of the manifest. In format 1, which does not record it, the
        answer is `prepend_bos`."""
        m = self.manifest
        if m.bos_token_id is None and m.bos_policy == UNRECORDED:
            return m.prepend_bos
        return prompt.token_ids[0] == m.bos_token_id

    def another_reader(self) -> Run:
        """The same run with its own open files, for another thread."""
        reader = copy.copy(self)  # shares the indexes of the manifest
        reader._open, reader._checked = OrderedDict(), set()
        return reader

    def count_nonfinite(self, prompt: str | int) -> int:
        """The number of NaN or infinite values of the prompt, counted from the file."""
        return int((~np.isfinite(self.acts(prompt))).sum())

    def nbytes(self) -> int:
        """Total size of the tensor files on disk; missing files count as 0."""
        names = {p.file for p in self.prompts}
        return sum(_size(inside(self.path, n)) or 0 for n in names)

    def check_file(self, name: str, *, check: Check) -> list[str]:
        """The faults of one tensor file. Reads the header, or the whole file for "sha256"."""
        try:
            file = self._open_checked(name, check)
        except BadRunError as e:
            return [e.line()]
        file.close()
        return []

    def file_names(self) -> list[str]:
        """The tensor files listed in the manifest, in order."""
        return list(dict.fromkeys([f.name for f in self.manifest.files] + [p.file for p in self.prompts]))

    def _file(self, name: str) -> TensorFile:
        if name not in self._open:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            # A checksum is compared once: a file of many shards is closed and opened again and again.
            self._open[name] = self._open_checked(name, "size" if name in self._checked else self._check)
            self._checked.add(name)
        self._open.move_to_end(name)
        return self._open[name]

    def _open_checked(self, name: str, check: Check) -> TensorFile:
        """Checks the size, then the header, and reads the whole file for its checksum last: its size can be any."""
        path, record = inside(self.path, name), self._records.get(name)
        if record is not None:
            _check_size(path, record)
        units = self.manifest.units
        is_directions = units is not None and name == units.file
        file = open_any_tensors(path) if is_directions else open_tensors(path, self._by_file.get(name, []))
        if record is not None and check == "sha256":
            try:
                _check_sha256(path, record)
            except BaseException:
                file.close()
                raise
        return file


def _size(path: Path) -> int | None:
    """Bytes of a regular file, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _check_size(path: Path, record: FileRecord) -> None:
    size = _size(path)
    if size is not None and size != record.bytes:  # `open_tensors` names the reason if there is no file
        word = "truncated" if size < record.bytes else "extended"
        raise BadRunError(f"{word}: {size} bytes, the manifest says {record.bytes}", where=str(path), next_step=_AGAIN)


def _check_sha256(path: Path, record: FileRecord) -> None:
    try:
        differs = sha256_file(path) != record.sha256
    except (OSError, NotReadableError) as e:
        what = f"cannot be read ({getattr(e, 'strerror', None) or e})"
        raise BadRunError(what, where=str(path), next_step=_AGAIN) from e
    if differs:
        what = "the sha256 differs from the manifest: the file has changed"
        raise BadRunError(what, where=str(path), next_step=_AGAIN)
