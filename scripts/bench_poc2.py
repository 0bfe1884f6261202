"""Speed and memory of stage 2, as ratios measured in one process; the figures go into docs/performance.md.

    python scripts/bench_poc2.py [--quick] [--only NAME ...]

The run is synthetic: 26 layers of 9,216 neurons, 64 prompts of 16 tokens in bf16 (`--quick`: a quarter of the
neurons). Baselines: reading the same tensors and taking abs-max over positions with torch; the fastest installed
writer of CSV and of Parquet on the same table; peaks on the same run. Memory is measured in a process of its own.
Each pair is run alternately and the medians are compared. The influence metrics run on a random Gemma-2 of 8 layers,
d_model 512, d_mlp 2048, against a forward pass of transformer-lens' bridge, or plain batched forward passes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch
from bench_common import Bar, Bench, alternate, at_most, peak_memory, run_benches
from bench_influence import bench_ablation, bench_one_pass
from viewer_runs import D_MLP, N_LAYERS, SEQ_LEN, synthetic_manifest, synthetic_prompt

from neuron_signatures.analysis.peaks.analyze import PeaksConfig, analyze_peaks
from neuron_signatures.analysis.signatures.analyze import SignatureConfig, analyze_signatures
from neuron_signatures.analysis.tokens.functional import default_functional_tokens
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.results import NEURONS, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.writer import PromptOutcome, open_writer

PER_SHARD = 8


def bench_peaks(quick: bool) -> list[Bar]:
    """Peaks of every neuron against reading the tensors and taking abs-max over positions."""
    with _synthetic_run(64, _d_mlp(quick)) as path, Run.open(path) as run:

        def baseline() -> None:
            for i in range(len(run.prompts)):
                run.tensor(i).abs().amax(dim=1)

        config = PeaksConfig(default_functional_tokens())
        times = alternate({"peaks": lambda: analyze_peaks(run, config), "baseline": baseline}, 3 if quick else 5)
    return [at_most("peaks / read and abs-max", times, "peaks", "baseline", 8)]


def bench_tables(quick: bool) -> list[Bar]:
    """Both tables against the fastest plain writer of each format, also synced to the disk."""
    with _synthetic_run(8, _d_mlp(quick)) as path, Run.open(path) as run:
        frame = analyze_peaks(run, PeaksConfig(default_functional_tokens())).frame
        out = path / "out"

        def ours() -> None:
            with open_results(run) as writer:
                writer.table(NEURONS, frame)

        rounds = 3 if quick else 5
        plain = alternate({k: lambda f=f: _synced(f, frame, out) for k, f in WRITERS.items()}, rounds)
        times = alternate({"ours": ours, **{k: lambda f=f: _synced(f, frame, out) for k, f in _best(plain)}}, rounds)
    names = [k for k in times if k != "ours"]
    times["both"] = [sum(t) for t in zip(*(times[k] for k in names), strict=True)]
    return [
        at_most("both tables / fastest CSV and Parquet writer", times, "ours", "both", 1.5, f" ({' + '.join(names)})")
    ]


def bench_memory(quick: bool) -> list[Bar]:
    """Peak resident memory of peaks in a separate process, for few and many prompts."""
    out = []
    for n_prompts in (64, 256):
        with _synthetic_run(n_prompts, _d_mlp(quick)) as path:
            peak = _peak_memory(path)
        out.append(Bar(f"peak memory in GB, peaks of {n_prompts} prompts", peak / 1e9, "<= 1.5", peak <= 1.5e9, ""))
    return out


def bench_signatures(quick: bool) -> list[Bar]:
    """Signatures of every neuron and pole, with 20 draws of both nulls, against peaks of the same run."""
    functional = default_functional_tokens()
    with _synthetic_run(64, _d_mlp(quick)) as path, Run.open(path) as run:
        actions = {
            "signatures": lambda: analyze_signatures(run, SignatureConfig(functional)),
            "peaks": lambda: analyze_peaks(run, PeaksConfig(functional)),
        }
        times = alternate(actions, 2 if quick else 3)
    return [at_most("signatures / peaks", times, "signatures", "peaks", 45)]


BENCHES: dict[str, Bench] = {
    "peaks": bench_peaks,
    "tables": bench_tables,
    "memory": bench_memory,
    "signatures": bench_signatures,
    "one_pass": bench_one_pass,
    "ablation": bench_ablation,
}

WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv pyarrow": lambda f, p: pyarrow.csv.write_csv(pa.Table.from_pandas(f, preserve_index=False), p),
    "csv pandas": lambda f, p: f.to_csv(p, index=False),
    "parquet pyarrow": lambda f, p: pyarrow.parquet.write_table(pa.Table.from_pandas(f, preserve_index=False), p),
    "parquet pandas": lambda f, p: f.to_parquet(p, index=False),
}


def _best(times: dict[str, list[float]]) -> Iterator[tuple[str, Callable[[pd.DataFrame, Path], None]]]:
    for kind in ("csv", "parquet"):
        name = min((k for k in times if k.startswith(kind)), key=lambda k: statistics.median(times[k]))
        yield name, WRITERS[name]


def _synced(write: Callable[[pd.DataFrame, Path], None], frame: pd.DataFrame, path: Path) -> None:
    write(frame, path)
    with path.open("rb") as f:
        os.fsync(f.fileno())


@contextmanager
def _synthetic_run(n_prompts: int, d_mlp: int) -> Iterator[Path]:
    """A run of random activations, written shard by shard so that it is never in memory as a whole."""
    n_shards = -(-n_prompts // PER_SHARD)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    prompts = []
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "run"
        with open_writer(path, "new", settings={}, facts={}) as writer:
            for n in range(n_shards):
                ids = [f"p{i}" for i in range(n * PER_SHARD, min((n + 1) * PER_SHARD, n_prompts))]
                shape = (N_LAYERS, SEQ_LEN, d_mlp)
                tensors = {k: torch.randn(shape, generator=generator).to(torch.bfloat16) for k in ids}
                name = activation_file(n, n_shards, "safetensors")
                outcomes = [PromptOutcome(prompt_id=k, nonfinite=0) for k in ids]
                writer.write_shard(n, name, tensors, outcomes, 0.0)
                prompts += [synthetic_prompt(k, name, rng, d_mlp) for k in ids]
            files = [r.file for r in writer.done.values() if r.file]
            writer.finish(synthetic_manifest(files, prompts, d_mlp))
        yield path


def _peak_memory(run_dir: Path) -> int:
    code = (
        "import sys; from neuron_signatures.analysis.tokens.functional import default_functional_tokens;"
        "from neuron_signatures.analysis.peaks.analyze import PeaksConfig, analyze_peaks;"
        "from neuron_signatures.analysis.selection import SelectionConfig;"
        "from neuron_signatures.analysis.peaks.writing import write_peaks;"
        "from neuron_signatures.runs.results import open_results; from neuron_signatures.runs.run import Run\n"
        "run = Run.open(sys.argv[1]); result = analyze_peaks(run, PeaksConfig(default_functional_tokens()))\n"
        "with open_results(run) as writer: write_peaks(writer, result, SelectionConfig(top_k=200))"
    )
    return peak_memory(code, str(run_dir))


def _d_mlp(quick: bool) -> int:
    return D_MLP // 4 if quick else D_MLP


if __name__ == "__main__":
    sys.exit(run_benches(__doc__, BENCHES))
