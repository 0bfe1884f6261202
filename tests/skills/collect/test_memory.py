"""Memory does not grow with the number of texts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from skills_runs import FLAGS

_CODE = """
import sys
from neuron_signatures import poc7_compare_skills
from neuron_signatures.skills.collect import batches
batches.PART_BYTES = 1 << 22
assert poc7_compare_skills.main(sys.argv[1:]) == 0
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def peak_bytes(texts: Path, run: Path) -> int:
    flags = [*FLAGS, "--texts", str(texts), "--out_dir", str(run), "--layers", "1,2", "--saes", "demo", "--json"]
    done = subprocess.run([sys.executable, "-c", _CODE, *flags], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    """Eight times the texts, whose sums alone take 60 MB, in parts of 4 MB."""
    peaks = []
    for n in (200, 1600):
        path = tmp_path / f"{n}.jsonl"
        rows = ({"text": f"The capital of state {i} is Austin.", "class": "ab"[i % 2]} for i in range(n))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        peaks.append(peak_bytes(path, tmp_path / str(n)))
    assert peaks[1] - peaks[0] < 25e6, peaks
