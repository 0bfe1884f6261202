"""Time and memory of stage 8; the figures are in docs/performance.md.

    OMP_NUM_THREADS=2 python scripts/bench_weights.py [--quick] [--real] [--only NAME ...]

`moments` and `neighbours` compare the work with the bare matrix product of the same size, in this process. `memory` is
the peak resident memory of the whole stage on one layer of the shape of Gemma-2-2B with random weights in bf16: the
weights of all layers are loaded (5.2 GB on disk; BENCH_MEMORY_DIR keeps them for the next time). `smollm2` (with
--real) is the whole stage on the real model, from the start of the process to its end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_common import Bar, Bench, alternate, at_most, peak_memory, run_benches
from bench_memory import write_model

from neuron_signatures.models.norms import NormForm
from neuron_signatures.weights.neighbours import Search, compare, default_tile
from neuron_signatures.weights.readout import make_readout
from neuron_signatures.weights.statistics import logit_moments

D_MODEL = 576
MOMENTS, NEIGHBOURS, SECONDS, BYTES = 2.0, 4.0, 60.0, 6e9


def bench_moments(quick: bool) -> list[Bar]:
    """The four moments of every neuron, against the scores alone."""
    n, vocab = (512, 4096) if quick else (2048, 16384)
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(vocab, D_MODEL, generator=generator)
    readout = make_readout(head, NormForm(False, torch.ones(D_MODEL), torch.zeros(D_MODEL)), None)
    units = _units(n)

    def product() -> None:
        for tokens in head.split(2048):
            for rows in units.split(256):
                rows @ tokens.T

    times = alternate({"moments": lambda: logit_moments(units, readout), "product": product}, 3 if quick else 7)
    return [at_most("moments of the logit effect / product", times, "moments", "product", MOMENTS)]


def bench_neighbours(quick: bool) -> list[Bar]:
    """The ten nearest of every neuron, against half of the products."""
    rows, tile = _units(8192 if quick else 16384), default_tile(torch.device("cpu"))

    def search() -> None:
        compare(rows, rows, 0, 0, Search(len(rows), 10, rows.device), tile, lambda _: None)

    def product() -> None:
        for first in range(0, len(rows), tile.rows):
            for columns in rows[first:].split(tile.columns):
                rows[first : first + tile.rows] @ columns.T

    times = alternate({"neighbours": search, "product": product}, 3 if quick else 5)
    return [at_most("ten nearest of all pairs / product", times, "neighbours", "product", NEIGHBOURS)]


def bench_memory(quick: bool) -> list[Bar]:
    """Peak memory of the whole stage, with neighbours."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(os.environ.get("BENCH_MEMORY_DIR") or folder) / ("quick" if quick else "full") / "model"
        if not (model / "config.json").is_file():
            write_model(model, quick)
        code = "import sys; from neuron_signatures.poc8_weights import main\nif main(sys.argv[1:]): sys.exit(1)"
        flags = ["--model_name", str(model), "--layers", "0", "--json", "--quiet"]
        start = time.monotonic()
        peak = peak_memory(code, "--out_dir", f"{folder}/run", *flags)
        detail = f"{peak / 1e9:.2f} GB, {time.monotonic() - start:.0f} s for one layer"
        return [Bar("peak memory on the shape of Gemma-2-2B / 6 GB", peak / BYTES, "<= 1", peak <= BYTES, detail)]


def bench_smollm2(quick: bool) -> list[Bar]:
    """Wall and processor time of the whole stage on SmolLM2-135M, the best of some runs."""
    found = []
    for _ in range(1 if quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [sys.executable, "-m", "neuron_signatures.poc8_weights", "--model_name", "smollm2", "--json"]
            done = subprocess.run([*command, "--quiet", "--out_dir", f"{folder}/run"], capture_output=True, check=True)
            wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            assert json.loads(done.stdout)["facts"]["n_neurons"] == 46_080
            found.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    wall, processor = min(found)
    detail = f"{wall:.1f} s, processor time {processor:.1f} s; {len(found)} runs, slowest {max(found)[0]:.1f} s"
    return [Bar("stage 8 on SmolLM2-135M / 60 s", wall / SECONDS, "<= 1", wall <= SECONDS, detail)]


def _units(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(1)), dim=1)


BENCHES: dict[str, Bench] = {"moments": bench_moments, "neighbours": bench_neighbours, "memory": bench_memory}
REAL: dict[str, Bench] = {"smollm2": bench_smollm2}

if __name__ == "__main__":
    sys.exit(run_benches(__doc__, BENCHES, real=REAL))
