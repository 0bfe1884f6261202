"""Stage 4 with a tiny model on a small corpus, as a command: flags, processes, and the arrays that it wrote."""

from __future__ import annotations

import functools
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tiny_models import tiny_model_dir

from neuron_signatures import poc4_extract_records
from neuron_signatures.runs.arrays import ArrayFile

WORDS = ["the", "capital", "of", "Texas", "is", "Austin", "and", "Dallas", "in", "state", "river", "a", "on", "er"]


def write_corpus(path: Path, n: int = 60, seed: int = 0) -> Path:
    rng = random.Random(seed)
    rows = [{"text": " ".join(rng.choices(WORDS, k=rng.randrange(3, 40)))} for _ in range(n)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def flags(corpus: Path, out_dir: Path, *more: str) -> list[str]:
    return [
        "--out_dir", str(out_dir), "--model_name", str(tiny_model_dir("gemma2")), "--model_dtype", "fp32", "--device",
        "cpu", "--corpus", str(corpus), "--sequence_length", "16", "--batch_size", "2", "--top_records", "4",
        "--quiet", *more,
    ]  # fmt: skip


def extract(*args: str) -> int:
    return poc4_extract_records.main(list(args))


def extract_slowly(args: Sequence[str], seconds: float) -> int:
    """The command, with `seconds` more for each batch of either pass; for a process that is stopped or killed.

    stderr has a line `batch` at the beginning of each.
    """
    from neuron_signatures.records.pass1 import run as first
    from neuron_signatures.records.pass2 import run as second

    for module in (first, second):
        module._run_batch = functools.partial(_later, module._run_batch, seconds)
    return extract(*args)


def _later(run: functools.partial, seconds: float, *args: object) -> object:
    print("batch", file=sys.stderr, flush=True)
    time.sleep(seconds)
    return run(*args)


def arrays(run_dir: Path) -> dict[str, bytes]:
    """All arrays of the records, by file and name."""
    found = {}
    for path in sorted((run_dir / "records").glob("*.safetensors")):
        with ArrayFile(path) as file:
            found |= {f"{path.name}:{key}": file.read(key).tobytes() for key in file.keys()}  # noqa: SIM118
    return found


def assert_same_records(one: Path, other: Path) -> None:
    """Lists, histograms and the sample are equal bit for bit, moments within 1e-9."""
    wanted, found = arrays(one), arrays(other)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        if key.startswith("moments.") and not key.endswith("count"):
            a, b = (np.frombuffer(x[key]) for x in (wanted, found))
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)
        else:
            assert value == found[key], key
