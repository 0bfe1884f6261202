"""Several threads read one open file of arrays: each gets its own values."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neuron_signatures.runs.arrays import ArrayFile, write_arrays


@pytest.fixture
def _switches_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switches_often")
def test_threads_that_read_at_once_get_their_own_rows(tmp_path):
    rows = np.repeat(np.arange(2000, dtype=np.int32)[:, None], 50, axis=1)
    with (tmp_path / "rows.safetensors").open("wb") as f:
        write_arrays(f, {"rows": rows})
    with ArrayFile(tmp_path / "rows.safetensors") as file, ThreadPoolExecutor(8) as pool:

        def wrong(seed: int) -> int:
            at = np.random.default_rng(seed).integers(len(rows) - 1, size=2000)
            return sum(not np.array_equal(file.rows("rows", i, i + 1), rows[i : i + 1]) for i in at.tolist())

        assert list(pool.map(wrong, range(8))) == [0] * 8
