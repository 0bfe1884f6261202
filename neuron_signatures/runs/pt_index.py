"""Where the tensors of a `.pt` file are: a zip archive of torch 1.6 or later with a pickled dict of tensors.

torch is not needed, nothing is unpickled (`pt_pickle.py`), and nothing is allocated that is not in the file.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

from neuron_signatures.runs.errors import shorten
from neuron_signatures.runs.manifest import DTYPE_BYTES, PromptRecord
from neuron_signatures.runs.pt_pickle import PickledTensor, UnsupportedContentError, pickled_tensors
from neuron_signatures.runs.tensor_index import Entry, contiguous, header_limit

_RESAVE = "load the file with torch and save it again"
_END, _END_64 = struct.Struct("<4s4x2H2L2x"), struct.Struct("<4s20x4Q")
_LOCATOR = struct.Struct("<4s4xQ4x")
_LOCAL = struct.Struct("<4s22x2H")
_UNKNOWN = 0xFFFFFFFF
_MAX_OFFSET = (1 << 63) - 1
# Of `zipfile`, from a damaged directory or member; a damaged offset can also be one that cannot be sought.
ZIP_ERRORS = (zipfile.BadZipFile, EOFError, RuntimeError, struct.error, OverflowError, OSError, UnicodeDecodeError)


def pt_index(file: BinaryIO, prompts: Sequence[PromptRecord]) -> dict[str, Entry]:
    """The tensors of the dict by key; other values are ignored. Pickles of protocols 2 to 5 are read.

    Raises `ValueError` with the reason if the file is of another format or damaged, or if a tensor needs more bytes
    than its storage has, and `UnsupportedContentError` if it holds something else.
    """
    archive = open_archive(file, limit=header_limit(prompts))
    members = {i.filename.partition("/")[2]: i for i in archive.infolist()}
    pickled = members.get("data.pkl")
    if pickled is None:
        raise ValueError(f"it has no data.pkl; {_RESAVE}")
    if pickled.file_size > header_limit(prompts):
        raise ValueError(f"its list of tensors has {pickled.file_size} bytes, too much for {len(prompts)} prompts")
    order = members.get("byteorder")
    if order is not None and (order.file_size > 16 or _read(archive, order) != b"little"):
        raise UnsupportedContentError(f"its bytes are not in little-endian order; {_RESAVE}")
    tensors = pickled_tensors(_read(archive, pickled))
    return {k: _entry(k, t, members, file) for k, t in tensors.items()}


def open_archive(file: BinaryIO, *, limit: int) -> zipfile.ZipFile:
    """The zip archive, whose directory has at most `limit` bytes.

    Only stored members, no two of one name, together no larger than the file. Raises `ValueError` with the reason.
    """
    size = os.fstat(file.fileno()).st_size
    if _directory_size(file, size) > limit:
        raise ValueError("its zip directory is too large for these prompts")
    try:
        archive = zipfile.ZipFile(file)
    except ZIP_ERRORS as e:
        raise ValueError("its zip directory is damaged") from e
    members = archive.infolist()
    if any(i.compress_type != zipfile.ZIP_STORED or i.compress_size != i.file_size or i.flag_bits & 1 for i in members):
        raise UnsupportedContentError(f"it is compressed, and torch writes no compressed files; {_RESAVE}")
    if len({i.filename for i in members}) != len(members):
        raise ValueError("a member of its zip archive is there twice")
    if sum(i.file_size for i in members) > size:
        raise ValueError("the members of its zip archive are larger than the file")
    return archive


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(member)
    except ZIP_ERRORS as e:
        raise ValueError(f"its member {shorten(member.filename, 60)!r} is damaged") from e


def _directory_size(file: BinaryIO, size: int) -> int:
    """Bytes of the directory of the archive, read from the end of the file as torch writes it."""
    magic, n_entries, _, n_bytes, offset = _END.unpack(_at(file, max(0, size - _END.size), _END.size))
    if magic != b"PK\5\6":
        raise ValueError(f"it is damaged, or from torch before 1.6; {_RESAVE}")
    if n_entries == 0xFFFF or _UNKNOWN in (n_bytes, offset):
        magic, at = _LOCATOR.unpack(_at(file, size - _END.size - _LOCATOR.size, _LOCATOR.size))
        if magic != b"PK\6\7":
            raise ValueError("its zip directory is damaged")
        magic, _, _, n_bytes, _ = _END_64.unpack(_at(file, at, _END_64.size))
        if magic != b"PK\6\6":
            raise ValueError("its zip directory is damaged")
    return int(n_bytes)


def _at(file: BinaryIO, offset: int, n: int) -> bytes:
    file.seek(min(max(offset, 0), _MAX_OFFSET))
    raw = file.read(n)
    if len(raw) != n:
        raise ValueError(f"it is damaged, or from torch before 1.6; {_RESAVE}")
    return raw


def _entry(key: str, t: PickledTensor, members: dict[str, zipfile.ZipInfo], file: BinaryIO) -> Entry:
    dtype, member = t.storage.dtype, members.get(f"data/{t.storage.member}")
    if len(t.shape) != len(t.strides):
        raise ValueError(f"tensor {key!r} has an invalid shape")
    if dtype not in DTYPE_BYTES:
        return Entry(dtype, t.shape, t.strides, 0)
    size = DTYPE_BYTES[dtype]
    last = t.offset + sum((n - 1) * stride for n, stride in zip(t.shape, t.strides, strict=True))
    if member is None or t.storage.n * size != member.file_size or last >= t.storage.n:
        raise ValueError(f"tensor {key!r} is not in the file")
    if math.prod(t.shape) > t.storage.n or any(n > 1 and not s for n, s in zip(t.shape, t.strides, strict=True)):
        raise ValueError(f"tensor {key!r} has shape {list(t.shape)}, but its storage {t.storage.n} values")
    # The stride of an axis of length 1 is arbitrary.
    plain = zip(t.shape, t.strides, contiguous(t.shape), strict=True)
    strides = tuple(stride if n > 1 else without_gaps for n, stride, without_gaps in plain)
    return Entry(dtype, t.shape, strides, _start(member, file) + t.offset * size)


def _start(member: zipfile.ZipInfo, file: BinaryIO) -> int:
    """The first byte of the member, behind its own header in the archive."""
    magic, n_name, n_extra = _LOCAL.unpack(_at(file, member.header_offset, _LOCAL.size))
    start = member.header_offset + _LOCAL.size + n_name + n_extra
    if magic != b"PK\3\4" or start + member.file_size > os.fstat(file.fileno()).st_size:
        raise ValueError("its zip directory is damaged")
    return int(start)
