"""Time and memory of a search among 240,000 explanations, for docs/performance.md.

    python scripts/bench_search.py                     # makes a run in a temporary folder, about three minutes
    python scripts/bench_search.py --run_dir runs/big  # makes it there, or uses the one that is there
    python scripts/bench_search.py --n 20000 --exemplars 0

The run is synthetic: 26 layers of 9,216 neurons with ten written tokens on each side, an explanation of about 20 words
for each, of English words with Zipf's frequencies, and exemplars of windows of 127 words that neurons share. Vectors
are random unit vectors of MiniLM's 384 dimensions, whose comparison costs what that of real ones does. A query by
meaning is embedded by MiniLM, and that time is part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from large_records import write_corpus
from viewer_runs import synthetic_manifest

from neuron_signatures.models.embedding import SentenceEmbedder, load_embedder
from neuron_signatures.models.packaged import MINILM, find_packaged
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import RecordsMeta, corpus_digest
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.writing import HistogramArrays, MomentArrays, StrongestArrays, write_all_neurons
from neuron_signatures.runs.results import (
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    ResultsWriter,
    open_results,
    write_column,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.hits import Scope
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.search.ask import embed_query
from neuron_signatures.search.request import IndexRequest
from neuron_signatures.search.stage import make_index

N_LAYERS, D_MLP, TOP, VOCAB = 26, 9216, 10, 50_000
ROUNDS = 20
BAR_MS = 100.0
OF_MODEL = (
    "model_name", "model_revision", "weights_fingerprint", "model_dtype", "device_name", "attn_implementation",
)  # fmt: skip
QUERIES = {
    "words": ["rivers", "capital cities", "python code", '"the state"', "numb*", "neuron", "the", "years of the war"],
    "token": [" word700", '" word7"', "word12", "a", "·word4999"],
    "meaning": ["capital cities", "numbers and years", "python code", "names of rivers in Europe", "anger"],
}


class RandomVectors:
    """In place of MiniLM: random unit vectors, under its name and fingerprint, so that MiniLM embeds the queries."""

    def __init__(self, real: SentenceEmbedder) -> None:
        self.name, self.fingerprint, self.dimensions = real.name, real.fingerprint, real.dimensions
        self.max_tokens, self.model = real.max_tokens, SimpleNamespace(config=None)
        self._rng = np.random.default_rng(1)

    def embed(self, texts: list[str], *, batch_size: int) -> np.ndarray:
        made = self._rng.standard_normal((len(texts), self.dimensions), dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


def make_run(run_dir: Path, n: int, exemplars: int, real: SentenceEmbedder) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    write_manifest(run_dir, synthetic_manifest([], [], D_MLP))
    write_explanations(run_dir, n)
    write_writes(run_dir)
    if exemplars:
        write_exemplars(run_dir, exemplars)
    request = IndexRequest(run_dir, exemplars=max(1, exemplars))
    seconds = timed(lambda: make_index(request, silent, RandomVectors(real)))  # type: ignore[arg-type]
    print(f"index made in {seconds:.1f} s (random vectors: without the time of an embedder)", flush=True)


def english() -> list[str]:
    """Whole words of MiniLM's vocabulary, about in the order of their frequency in English."""
    record = json.loads((find_packaged(MINILM).parent / "tokenizer.json").read_text(encoding="utf-8"))
    return [word for word in record["model"]["vocab"] if word.isascii() and word.isalpha() and len(word) > 1]


def write_explanations(run_dir: Path, n: int) -> None:
    rng, words = np.random.default_rng(0), english()
    share = 1 / np.arange(5, len(words) + 5)
    lengths = rng.integers(8, 30, n)
    drawn, at = rng.choice(len(words), int(lengths.sum()), p=share / share.sum()), 0
    (run_dir / "explanations").mkdir()
    common = '"explainer":"highlighted","status":"ok","author":"model","created_at_utc":"2026-01-02T03:04:05+00:00"'
    with (run_dir / "explanations" / "model.jsonl").open("w", encoding="utf-8") as f:
        for i, length in enumerate(lengths.tolist()):
            text = "this neuron fires on " + " ".join(words[w] for w in drawn[at : at + length])
            at += length
            place = f'"layer":{i // D_MLP % N_LAYERS},"neuron":{i % D_MLP},"pole":"{"+-"[i // (N_LAYERS * D_MLP) % 2]}"'
            f.write(f'{{"id":"{i:016x}","kind":"explanation","set":"model",{place},"text":"{text}",{common}}}\n')


def write_writes(run_dir: Path) -> None:
    rng, n = np.random.default_rng(2), N_LAYERS * D_MLP
    columns: dict[str, np.ndarray] = {
        "layer": np.repeat(np.arange(N_LAYERS, dtype=np.int32), D_MLP),
        "neuron": np.tile(np.arange(D_MLP, dtype=np.int32), N_LAYERS),
        "mean": np.zeros(n, np.float32), "std": rng.uniform(0.1, 1, n).astype(np.float32),
    }  # fmt: skip
    for sign, side in zip((1, -1), WRITE_SIDES, strict=True):
        scores = -np.sort(-rng.uniform(0.5, 5, (n, TOP)).astype(np.float32), axis=1) * sign
        for rank in range(TOP):
            columns[write_column(side, "id", rank)] = rng.integers(0, VOCAB, n, dtype=np.int32)
            columns[write_column(side, "score", rank)] = scores[:, rank]
    tokens = {"token_id": np.arange(VOCAB, dtype=np.int32), "token": [f" word{i}" for i in range(VOCAB)]}
    with Run.open(run_dir) as run, open_results(run) as writer:
        writer.begin(WRITES_META)
        writer.table(WRITES, pd.DataFrame(columns), csv=False)
        writer.table(WRITES_TOKENS, pd.DataFrame(tokens), csv=False)
        about = {"stage": "poc2_analyze_run", "mode": "write_scores", "created_at_utc": "2026-01-02T03:04:05+00:00"}
        made = {"unit": "logit", "top": TOP, "vocab": VOCAB, "run": run_identity(run), "warnings": []}
        writer.record(WRITES_META, {**about, **made})


def write_exemplars(run_dir: Path, k: int) -> None:
    """Lists of random windows of a corpus of two million tokens, so that about a hundred neurons share one."""
    write_corpus(run_dir, 2_000_000)
    with Corpus.open(run_dir) as corpus, Run.open(run_dir) as run:
        rng, shape = np.random.default_rng(3), (N_LAYERS, D_MLP, len(PARTS), 2, k)
        window, pos = np.full(shape, -1, np.int32), np.zeros(shape, np.int16)
        members = np.flatnonzero(corpus.document_part[corpus.window_document] == 0)
        chosen = rng.choice(members, (N_LAYERS, D_MLP, 2, k)).astype(np.int32)
        window[:, :, 0], pos[:, :, 0] = (
            chosen,
            (rng.random(chosen.shape) * corpus.window_length[chosen]).astype(np.int16),
        )
        value = np.zeros(shape, np.float32)
        value[:, :, 0] = -np.sort(-rng.uniform(1, 9, chosen.shape).astype(np.float32)) * np.array([[1], [-1]])
        moments = [np.zeros((N_LAYERS, D_MLP, len(PARTS)), np.float64) for _ in range(4)]
        counts = np.zeros((N_LAYERS, D_MLP, len(PARTS)), np.int64)
        histograms = HistogramArrays(
            np.array([0, 1], np.float32), np.zeros((N_LAYERS, D_MLP, len(PARTS), 4), np.uint32)
        )
        meta = RecordsMeta(
            stage="poc4_extract_records", created_at_utc="", layers=list(range(N_LAYERS)),
            n_layers=N_LAYERS, d_mlp=D_MLP, top_k=k, batch_size=None, left_out={}, n_shards=1, wall_seconds=0.0,
            tokens_per_second=None, n_dead=0, n_nearly_dead=0, corpus_sha256=corpus_digest(corpus.meta),
            **{name: getattr(run.manifest, name) for name in OF_MODEL},
        )  # fmt: skip
        frame = pd.DataFrame({"layer": [0], "neuron": [0]})
        write_all_neurons(
            ResultsWriter(run_dir, "records"), StrongestArrays(value, window, pos), MomentArrays(counts, *moments),
            histograms, frame, meta,
        )  # fmt: skip


def measure(run_dir: Path, real: SentenceEmbedder) -> bool:
    """Print a line per kind of query; whether all are below the bar."""
    search, held = Search.open(run_dir), True
    asks: dict[str, Callable[[str], Any]] = {
        "words": lambda q: search.by_words(q),
        "token": lambda q: search.by_token(q),
        "meaning": lambda q: search.by_meaning(embed_query(real, q)),
    }
    embed_query(real, "first")
    for by, ask in asks.items():
        before = resident()
        first = timed(lambda ask=ask, by=by: ask(QUERIES[by][0]))
        busy = time.process_time()
        times = {q: [timed(lambda ask=ask, q=q: ask(q)) for _ in range(ROUNDS)] for q in QUERIES[by]}
        cpu = 1000 * (time.process_time() - busy) / (ROUNDS * len(times))
        every = sorted(t for found in times.values() for t in found)
        median, p95 = 1000 * statistics.median(every), 1000 * every[int(0.95 * len(every))]
        worst, slow = max((1000 * statistics.median(found), q) for q, found in times.items())
        held &= p95 < BAR_MS
        print(f"by {by}: median {median:.1f} ms, p95 {p95:.1f} ms (bar {BAR_MS:.0f}), CPU time {cpu:.1f} ms")
        memory = human_bytes(max(0, resident() - before))
        print(f"  slowest query {slow!r} {worst:.1f} ms; first query {first:.2f} s, {memory} more memory", flush=True)
    layer = Scope(layers=(3,))
    vector = embed_query(real, "capital cities")
    for by, ask_layer in (
        ("words", lambda: search.by_words("capital cities", layer)),
        ("meaning, embedded before", lambda: search.by_meaning(vector, layer)),
    ):
        print(f"by {by}, in one layer: {1000 * statistics.median(timed(ask_layer) for _ in range(ROUNDS)):.1f} ms")
    return held


def timed(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


@contextlib.contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, help="where the run is made, if it is not there")
    parser.add_argument("--n", type=int, default=240_000, help="explanations; default 240,000")
    parser.add_argument("--exemplars", type=int, default=1, help="windows of each pole; default 1")
    args = parser.parse_args()
    torch.set_num_threads(2)
    real = load_embedder(device="cpu")
    with folder_of(args.run_dir) as run_dir:
        if not (run_dir / "search" / "search_meta.json").exists():
            make_run(run_dir, args.n, args.exemplars, real)
        files = sorted((run_dir / "search").iterdir())
        print(", ".join(f"{p.name} {human_bytes(p.stat().st_size)}" for p in files), flush=True)
        return 0 if measure(run_dir, real) else 1


if __name__ == "__main__":
    sys.exit(main())
