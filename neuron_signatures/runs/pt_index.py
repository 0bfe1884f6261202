"""Where the tensors of a `.pt` file are: a zip archive of torch 1.6 or later with a pickled dict of tensors.

The pickle is interpreted here, not unpickled: the only objects are dicts, lists, tuples, text, numbers and tensors, so
that a file cannot run code, and nothing is allocated that is not in the file. torch is not needed.
"""

from __future__ import annotations

import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

from neuron_signatures.runs.manifest import DTYPE_BYTES, PromptRecord
from neuron_signatures.runs.tensor_index import Entry, contiguous, header_limit, is_shape, is_size

_RESAVE = "load the file with torch and save it again"
_END, _END_64 = struct.Struct("<4s4x2H2L2x"), struct.Struct("<4s20x4Q")
_LOCATOR = struct.Struct("<4s4xQ4x")
_LOCAL = struct.Struct("<4s22x2H")
_UNKNOWN = 0xFFFFFFFF
_MAX_OFFSET = (1 << 63) - 1
_DTYPES = {"BFloat16Storage": "bf16", "HalfStorage": "fp16", "FloatStorage": "fp32"}
_VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWFALSE": lambda: False, "NEWTRUE": lambda: True, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "EMPTY_LIST": list,
}  # fmt: skip
_WITH_VALUE = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE")
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Global(NamedTuple):
    """A name that the pickle refers to; it is never imported."""

    name: str


class _Storage(NamedTuple):
    dtype: str
    member: str
    n: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def pt_index(file: BinaryIO, prompts: Sequence[PromptRecord]) -> dict[str, Entry]:
    """The tensors of the dict by key; other values are ignored.

    Raises `ValueError` with the reason if the file is of another format or damaged, or names something that is not a
    tensor, or if a tensor needs more bytes than its storage has.
    """
    archive = open_archive(file, limit=header_limit(prompts))
    members = {i.filename.partition("/")[2]: i for i in archive.infolist()}
    pickled = members.get("data.pkl")
    if pickled is None:
        raise ValueError(f"it has no data.pkl; {_RESAVE}")
    if pickled.file_size > header_limit(prompts):
        raise ValueError(f"its list of tensors has {pickled.file_size} bytes, too much for {len(prompts)} prompts")
    order = members.get("byteorder")
    if order is not None and (order.file_size > 16 or archive.read(order) != b"little"):
        raise ValueError(f"its bytes are not in little-endian order; {_RESAVE}")
    tensors = _Interpreter().run(archive.read(pickled))
    return {k: _entry(k, t, members, file) for k, t in tensors.items() if isinstance(t, _Tensor)}


def open_archive(file: BinaryIO, *, limit: int) -> zipfile.ZipFile:
    """The zip archive, whose directory has at most `limit` bytes.

    Only stored members, no two of one name, together no larger than the file. Raises `ValueError` with the reason.
    """
    size = os.fstat(file.fileno()).st_size
    if _directory_size(file, size) > limit:
        raise ValueError("its zip directory is too large for these prompts")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError) as e:
        raise ValueError("its zip directory is damaged") from e
    members = archive.infolist()
    if any(i.compress_type != zipfile.ZIP_STORED or i.compress_size != i.file_size or i.flag_bits & 1 for i in members):
        raise ValueError(f"it is compressed, and torch writes no compressed files; {_RESAVE}")
    if len({i.filename for i in members}) != len(members):
        raise ValueError("a member of its zip archive is there twice")
    if sum(i.file_size for i in members) > size:
        raise ValueError("the members of its zip archive are larger than the file")
    return archive


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


class _Interpreter:
    """A stack machine with the operations that `torch.save` uses for a dict of tensors."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, raw: bytes) -> dict[str, Any]:
        """The dict that the pickle describes. Raises `ValueError`, also for every other operation."""
        try:
            for op, value, _ in pickletools.genops(raw):
                if op.name == "STOP":
                    break
                self._step(op.name, value)
            found = self._stack.pop()
        except (IndexError, KeyError, TypeError, AttributeError) as e:
            raise ValueError("its list of tensors is damaged") from e
        if not isinstance(found, dict):
            raise ValueError("it is not a dict of prompt id to tensor")
        return found

    def _step(self, op: str, value: Any) -> None:
        stack = self._stack
        if op in _WITH_VALUE:
            stack.append(value)
        elif op in _VALUES:
            stack.append(_VALUES[op]())
        elif op in ("BINPUT", "LONG_BINPUT"):
            self._memo[value] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[value])
        elif op == "MARK":
            self._marked.append(stack)
            self._stack = []
        elif op == "GLOBAL":
            stack.append(_Global(value.replace(" ", ".")))
        elif op == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif op == "REDUCE":
            arguments = stack.pop()
            stack.append(_made(stack.pop(), arguments))
        elif op in ("TUPLE", *_SHORT_TUPLES):
            items = self._since_mark() if op == "TUPLE" else [stack.pop() for _ in range(_SHORT_TUPLES[op])][::-1]
            self._stack.append(tuple(items))
        elif op in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if op == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
            _set_items(self._stack[-1], items)
        elif op in ("APPEND", "APPENDS"):
            items = self._since_mark() if op == "APPENDS" else [stack.pop()]
            self._stack[-1].extend(items)
        elif op != "PROTO":
            raise ValueError(f"its pickle has the operation {op}, which no dict of tensors needs")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(k, str) for k in items[::2]):
        raise ValueError("it is not a dict of prompt id to tensor")
    target.update(zip(items[::2], items[1::2], strict=True))


def _made(function: Any, arguments: Any) -> Any:
    """The result of a call, of those that `torch.save` writes."""
    name = function.name if isinstance(function, _Global) else type(function).__name__
    if name == "collections.OrderedDict" and arguments == ():
        return {}
    if name == "torch._utils._rebuild_parameter" and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if name == "torch._utils._rebuild_tensor_v2":
        storage, offset, shape, strides = arguments[:4]
        if isinstance(storage, _Storage) and is_size(offset) and is_shape(shape) and is_shape(strides):
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
    raise ValueError(f"it holds something that is not a tensor ({name[:100]})")


def _storage(value: Any) -> _Storage:
    kind, of, member, _, n = value
    if kind != "storage" or not isinstance(of, _Global) or not isinstance(member, str) or not is_size(n):
        raise ValueError("its list of tensors is damaged")
    name = of.name.removeprefix("torch.")
    return _Storage(_DTYPES.get(name, name), member, n)


def _entry(key: str, t: _Tensor, members: dict[str, zipfile.ZipInfo], file: BinaryIO) -> Entry:
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
