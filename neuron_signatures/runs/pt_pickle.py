"""The dict of tensors that the pickle in a `.pt` file describes.

The pickle is interpreted here, not unpickled: the only objects are dicts, lists, tuples, text, numbers and tensors, so
that a file cannot run code, and nothing is allocated that is not in the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import shorten
from neuron_signatures.runs.tensor_index import is_shape, is_size

_DTYPES = {"BFloat16Storage": "bf16", "HalfStorage": "fp16", "FloatStorage": "fp32"}
_VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWFALSE": lambda: False, "NEWTRUE": lambda: True, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "EMPTY_LIST": list,
}  # fmt: skip
_WITH_VALUE = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_EFFECT = ("PROTO", "FRAME")
_OTHER_TYPES = {
    "EMPTY_SET": "set", "FROZENSET": "frozenset", "SHORT_BINBYTES": "bytes", "BINBYTES": "bytes", "BINBYTES8": "bytes",
    "BYTEARRAY8": "bytearray", "LONG4": "an integer of more than 255 bytes",
}  # fmt: skip
_OTHER_NAMES = {"torch.serialization._get_layout": "a sparse tensor", "_codecs.encode": "bytes"}
_MAX_NAME = 200
"""Characters of a module or class name: a name that the pickle repeats is a new string each time."""


class UnsupportedContentError(ValueError):
    """The file is whole, but holds something else than a dict of tensors. The message says what is there."""


class _Global(NamedTuple):
    """A name that the pickle refers to; it is never imported."""

    name: str


class Storage(NamedTuple):
    dtype: str
    member: str
    n: int


class PickledTensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def pickled_tensors(raw: bytes) -> dict[str, PickledTensor]:
    """The tensors of the dict by key; other values are ignored. Pickles of protocols 2 to 5 are read.

    Raises `ValueError` if the pickle is damaged, and `UnsupportedContentError` if it holds something else.
    """
    found = _Interpreter().run(raw)
    return {k: t for k, t in found.items() if isinstance(t, PickledTensor)}


class _Interpreter:
    """A stack machine with the operations that `torch.save` uses for a dict of tensors."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, raw: bytes) -> dict[str, Any]:
        """The dict that the pickle describes. Raises `ValueError`, and `UnsupportedContentError` for other content."""
        try:
            for op, value, _ in pickletools.genops(raw):
                if op.name == "STOP":
                    break
                self._step(op.name, value)
            found = self._stack.pop()
        except (IndexError, KeyError, TypeError, AttributeError) as e:
            raise ValueError("its list of tensors is damaged") from e
        if not isinstance(found, dict):
            raise _no_dict(_kind(found))
        return found

    def _step(self, op: str, value: Any) -> None:
        stack = self._stack
        if op in _WITH_VALUE:
            stack.append(value)
        elif op in _VALUES:
            stack.append(_VALUES[op]())
        elif op in ("BINPUT", "LONG_BINPUT"):
            self._memo[value] = stack[-1]
        elif op == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[value])
        elif op == "MARK":
            self._marked.append(stack)
            self._stack = []
        elif op == "GLOBAL":
            stack.append(_Global(value.replace(" ", ".")))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_global(module, name))
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
        elif op in ("NEWOBJ", "NEWOBJ_EX"):
            raise _no_tensor(_kind(stack[-2 if op == "NEWOBJ" else -3]))
        elif op in _OTHER_TYPES:
            raise _no_tensor(_OTHER_TYPES[op])
        elif op not in _NO_EFFECT:
            raise UnsupportedContentError(f"its pickle has the operation {op}, which no dict of tensors needs")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("its list of tensors is damaged")
    for key in items[::2]:
        if not isinstance(key, str):
            raise _no_dict(f"dict with a key of type {_kind(key)}")
    target.update(zip(items[::2], items[1::2], strict=True))


def _global(module: Any, name: Any) -> _Global:
    if not (isinstance(module, str) and isinstance(name, str)) or max(len(module), len(name)) > _MAX_NAME:
        raise ValueError("its list of tensors is damaged")
    return _Global(f"{module}.{name}")


def _kind(value: Any) -> str:
    """The type of a value, or the name that the pickle gives."""
    if isinstance(value, _Global):
        return value.name
    return "tensor" if isinstance(value, PickledTensor) else type(value).__name__.lstrip("_").lower()


def _no_tensor(kind: str) -> UnsupportedContentError:
    return UnsupportedContentError(
        f"it holds something that is not a tensor ({shorten(_OTHER_NAMES.get(kind, kind), 100)})"
    )


def _no_dict(kind: str) -> UnsupportedContentError:
    return UnsupportedContentError(f"it holds a {shorten(kind, 100)}, not a dict of prompt id to tensor")


def _made(function: Any, arguments: Any) -> Any:
    """The result of a call, of those that `torch.save` writes."""
    name = _kind(function)
    if name == "collections.OrderedDict" and arguments == ():
        return {}
    if name == "torch._utils._rebuild_parameter" and isinstance(arguments[0], PickledTensor):
        return arguments[0]
    if name == "torch._utils._rebuild_tensor_v2":
        storage, offset, shape, strides = arguments[:4]
        if isinstance(storage, Storage) and is_size(offset) and is_shape(shape) and is_shape(strides):
            return PickledTensor(storage, offset, tuple(shape), tuple(strides))
    raise _no_tensor(name)


def _storage(value: Any) -> Storage:
    kind, of, member, _, n = value
    if kind != "storage" or not isinstance(of, _Global) or not isinstance(member, str) or not is_size(n):
        raise ValueError("its list of tensors is damaged")
    name = of.name.removeprefix("torch.")
    return Storage(_DTYPES.get(name, name), member, n)
