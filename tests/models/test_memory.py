"""What the process can still get is what the machine has, or what its own limit leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuron_signatures.models.memory import release_mapped_weights
from neuron_signatures.runs.host_memory import available_bytes, cgroup_limits, total_bytes

_LIMITED = """
import resource
from neuron_signatures.runs.host_memory import available_bytes
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
    assert available_bytes() is None and total_bytes() is None


def write_group(folder: Path, names: tuple[str, str, str], most: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


def test_limits_of_control_groups_and_those_around_them(tmp_path: Path) -> None:
    """Files that the kernel can drop do not count as used."""
    second, first = tmp_path / "v2", tmp_path / "v1"
    names = ("memory.max", "memory.current", "inactive_file")
    write_group(second, names, "max", 7, 0)
    write_group(second / "job", names, "5000", 1200, 200)
    write_group(second / "job" / "step", names, "max", 9, 0)
    (tmp_path / "membership").write_text("0::/job/step\n")
    assert cgroup_limits(second, tmp_path / "membership") == [(5000, 1000)]

    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    write_group(first / "memory", names, str(2**63 - 4096), 7, 0)
    write_group(first / "memory" / "job", names, "8000", 100, 0)
    (tmp_path / "membership").write_text("9:name=systemd:/x\n4:cpu,memory:/job\n0::/\n")
    assert cgroup_limits(first, tmp_path / "membership") == [(8000, 100)]


@pytest.mark.parametrize("text", ["", "0::/gone\n", "4:memory:/../../etc\n"])
def test_without_control_groups_there_is_no_limit(tmp_path: Path, text: str) -> None:
    (tmp_path / "membership").write_text(text)
    assert cgroup_limits(tmp_path, tmp_path / "membership") == []
    assert cgroup_limits(tmp_path, tmp_path / "none") == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
def test_the_total_is_more_than_what_is_available() -> None:
    total, available = total_bytes(), available_bytes()
    assert total is not None and available is not None and total > available > 0


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
