"""What the process can still get is what the machine has, or what its own limit leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuron_signatures.models.memory import available_bytes, release_mapped_weights

_LIMITED = """
import resource
from neuron_signatures.models.memory import available_bytes
for limit, used in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
    before = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(used))
    resource.setrlimit(limit, (before + 50_000_000, resource.RLIM_INFINITY))
    print(available_bytes())
    resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(available_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is available")
def test_available_memory_respects_the_limits_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", _LIMITED], capture_output=True, text=True, check=True)
    data, address_space, free = map(int, done.stdout.split())
    assert 30_000_000 < data <= 50_000_000 and 30_000_000 < address_space <= 50_000_000
    assert free > 50_000_000


def test_other_systems_do_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available_bytes() is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_mapped_weights_are_released_unless_they_were_written_to(tmp_path: Path) -> None:
    n = 1 << 20
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.npy")]
    for path in paths:
        np.arange(n, dtype=np.float32).tofile(path)
    clean, changed, other = (np.memmap(path, np.float32, mode="c") for path in paths)
    assert clean.sum() == changed.sum() == other.sum()
    changed[5] = -1
    assert release_mapped_weights() >= 4 * n
    assert resident(paths[0]) == 0 < resident(paths[1])
    assert clean[7] == 7 and changed[5] == -1 and changed[6] == 6 and other[9] == 9


def resident(path: Path) -> int:
    """Bytes of a mapped file that are in the memory of this process."""
    lines = Path("/proc/self/smaps").read_text().split(str(path), 1)[1].splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))
