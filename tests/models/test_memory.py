"""What the process can still get is what the machine has, or what its own limit leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from neuron_signatures.models.memory import available_bytes

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
