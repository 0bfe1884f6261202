"""Crafted files: valid or nearly valid in their format, and large, deep or contradictory inside."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Bomb = Callable[[random.Random, Path], str]


def bombs_for(name: str) -> list[Bomb]:
    """The bombs for a file with this name."""
    if name.endswith(".safetensors"):
        return [safetensors_header]
    return {".pt": [pickled, zip_bomb], ".parquet": [parquet], ".npz": [npz, zip_bomb], ".csv": [csv]}.get(
        Path(name).suffix, []
    )


def safetensors_header(rng: random.Random, path: Path) -> str:
    """A header with a hostile entry; the body stays."""
    raw = path.read_bytes() if path.is_file() else b"\x02" + bytes(7) + b"{}"
    n = int.from_bytes(raw[:8], "little")
    try:
        header, body = dict(json.loads(raw[8 : 8 + n])), raw[8 + n :]
    except ValueError:  # damaged already
        return f"left {path.name}"
    keys = [k for k in header if k != "__metadata__"] or ["x"]
    key = rng.choice(keys)
    entry = header.setdefault(key, {"dtype": "F32", "shape": [], "data_offsets": [0, 0]})
    long = int("9" * 4000)
    match rng.randrange(9):
        case 0:
            entry["shape"] = rng.choice(
                [[long] * 1000, [0] * 100_000, [2**62, 2**62], [-1, 2], [1.5], [True], "x", None]
            )
        case 1:
            entry["data_offsets"] = rng.choice([[0, 2**63], [-8, 8], [8, 0], [0], [0, 0, 0], "ab", [long, long], None])
        case 2:
            entry["dtype"] = rng.choice(["F64", "F8_E4M3", "", "x" * 5000, None, 7, ["F32"], "\ud800"])
        case 3:
            header = {f"{k}{i}": v for i in range(20_000) for k, v in list(header.items())[:1]}
        case 4:
            header[rng.choice(["", "\ud800", "a" * 5000, "\x1b[31m", keys[0] + " "])] = header.pop(key)
        case 5:
            header["__metadata__"] = rng.choice([{"a": "x" * 10_000_000}, [], None, 3, {"a": {"b": 1}}])
        case 6:
            length = rng.choice([0, 1, 7, n - 1, n + 1, 2**27, 2**63, 2**64 - 1])
            path.write_bytes(struct.pack("<Q", length) + raw[8:])
            return f"{path.name}: header length {length}"
        case 7:
            size = rng.choice([90_000_000, 250_000_000, 1 << 28])
            with path.open("wb") as f:
                f.write(struct.pack("<Q", size) + b'{"a":1')
                f.truncate(size + 8)
            return f"{path.name}: a sparse header of {size} bytes"
        case 8:
            return _write_header(
                path, rng.choice([b"[" * 200_000, b'{"a":' * 50_000, b"{" + b" " * 10**7, b"[]"]), body
            )
    text = _unlimited(header)
    return _write_header(path, text, body)


def _write_header(path: Path, header: bytes, body: bytes) -> str:
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return f"{path.name}: header {header[:120]!r}"


def _unlimited(value: Any) -> bytes:
    """JSON with integers of any length; Python's own limit is 4,300 digits."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def pickled(rng: random.Random, path: Path) -> str:
    """A `.pt` file with hostile tensors, or with a call that must not run."""
    import torch

    victim = path.parent / "was-run"
    one = torch.zeros(1)
    values: list[tuple[str, Callable[[], Any]]] = [
        ("stride 0", lambda: {k: one.expand(2, 7, 300_000_000) for k in ("seed_prompt", "x")}),
        ("stride 0 of the right shape", lambda: {"seed_prompt": one.expand(2, 9, 512)}),
        ("meta", lambda: {"seed_prompt": torch.zeros(2, 9, 512, device="meta")}),
        ("sparse", lambda: {"seed_prompt": torch.zeros(2, 9, 512).to_sparse()}),
        ("huge sparse", lambda: {"a": torch.sparse_coo_tensor(torch.zeros(3, 1, dtype=torch.long), one, (2**20,) * 3)}),
        ("quantized", lambda: {"a": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)}),
        ("list", lambda: [one]),
        ("tensor", lambda: one),
        ("number keys", lambda: {0: one, None: one}),
        ("nested", lambda: {"seed_prompt": {"seed_prompt": one}}),
        ("many tensors", lambda: {f"k{i}": one for i in range(3000)}),
        ("long keys", lambda: {"k" * 5000: one, "\x1b[31m": one}),
        ("complex", lambda: {"seed_prompt": torch.zeros(2, 9, 512, dtype=torch.complex64)}),
        ("empty", lambda: {}),
        ("command", lambda: _Command(victim)),
    ]
    name, make = rng.choice(values)
    warnings.simplefilter("ignore")
    if name == "command" or rng.random() < 0.1:
        path.write_bytes(pickle.dumps({"seed_prompt": _Command(victim)}, protocol=2))
        return f"{path.name}: a pickle that runs a command"
    torch.save(make(), path, _use_new_zipfile_serialization=rng.random() < 0.8)
    return f"{path.name}: {name}"


class _Command:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def zip_bomb(rng: random.Random, path: Path) -> str:
    """A zip whose members are much larger than the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name in rng.choice([("settings.npy", "effects.npy", "done.npy"), ("archive/data.pkl", "archive/version")]):
            z.writestr(name, _zeros())
    return f"{path.name}: a zip bomb"


@cache
def _zeros() -> bytes:
    return bytes(50_000_000)


def npz(rng: random.Random, path: Path) -> str:
    """Checkpoint arrays of other shapes, types and settings."""
    settings = rng.choice(["{}", "[" * 100_000, '{"a": NaN}', "\ud800", "null", '{"device": 1e999}', "x" * 5000])
    n = rng.choice([0, 1, 1024, 3_000_000])
    effects = rng.choice([np.zeros(n), np.zeros((n, 1)), np.zeros(n, "U1"), np.array(None, dtype=object)])
    raw = io.BytesIO()
    np.savez(raw, settings=np.array(settings), effects=effects, done=np.ones(n, dtype=bool))
    path.write_bytes(raw.getvalue())
    return f"{path.name}: settings {settings[:20]!a}, {n} effects"


def parquet(rng: random.Random, path: Path) -> str:
    """A table with other columns or types, or of very many equal rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.1:
        path.write_bytes(_many_rows())
        return f"{path.name}: 160 million equal rows"
    table = pq.read_table(path) if path.is_file() else pa.table({"layer": [0]})
    name = rng.choice(table.column_names)
    n, at = table.num_rows, table.column_names.index(name)
    what, column = rng.choice([
        ("null", pa.nulls(n)), ("text", pa.array(["\x1b[31m\u202e" * 50] * n)), ("binary", pa.array([b"\xff\0"] * n)),
        ("negative", pa.array([-(2**62)] * n)), ("NaN", pa.array([float("nan")] * n)),
        ("infinite", pa.array([float("inf")] * n)), ("lists", pa.array([[1, 2]] * n)),
        ("boolean", pa.array([True] * n)),
        ("unsigned", pa.array([2**64 - 1] * n, pa.uint64())), ("structs", pa.array([{"a": 1}] * n)),
        ("long text", pa.array(["x" * 100_000] * min(n, 50) + [""] * (n - min(n, 50)))),
    ])  # fmt: skip
    match rng.randrange(4):
        case 0:
            table, what = table.drop_columns([name]), "dropped"
        case 1:
            table, what = table.slice(0, rng.choice([0, 1])), "few rows"
        case 2:
            names = [rng.choice(["", "\x1b", "layer", "x" * 5000]) if c == name else c for c in table.column_names]
            table, what = table.rename_columns(names), "renamed"
        case _:
            table = table.set_column(at, name, column)
    pq.write_table(table, path)
    return f"{path.name}: column {name} {what}"


@cache
def _many_rows() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 4_000_000
    columns = {"layer": pa.array(np.zeros(rows, np.int64)), "neuron": pa.array(np.zeros(rows, np.int64))}
    part, raw = pa.table(columns), io.BytesIO()
    with pq.ParquetWriter(raw, part.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(part, row_group_size=rows)
    return raw.getvalue()


def csv(rng: random.Random, path: Path) -> str:
    path.write_bytes(
        rng.choice([b"a,b\n" * 1000, b'"' * 100_000, b"layer,neuron\n=cmd(),\x1b[31m\n", b"," * 1_000_000])
    )
    return f"{path.name}: other text"
