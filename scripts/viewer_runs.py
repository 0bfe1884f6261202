"""A synthetic run with the shape of a 2B model, for viewer benchmarks: 26 layers of 9,216 neurons, 1,000 prompts.

Its tensor files are sparse (7.7 GB) with values only in the first prompts. Its tables are those of the small run in
tests/data, repeated to full length, so they have the columns that stage 2 writes.
"""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from neuron_signatures.runs.manifest import HOOK_NAME, FileRecord, Manifest, PromptRecord
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.names import activation_file
from neuron_signatures.runs.results import (
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    ResultsWriter,
    open_results,
    read_json,
    table_name,
    write_column,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.tables import read_table
from neuron_signatures.runs.tokens import ascii_token

N_LAYERS, D_MLP, N_PROMPTS, SEQ_LEN = 26, 9216, 1000, 16
PER_SHARD, N_FILLED = 64, 24
VOCAB, N_WRITTEN = 256_000, 10
WORDS = ("<bos>", "the", "of", "is", "in", "a", ",", ".", *(f"word{i}" for i in range(300)))
SMALL = Path(__file__).resolve().parents[1] / "tests" / "data" / "demo_run"


def make_viewer_run(run_dir: Path) -> Path:
    """Write the run, and the tables of peaks, signatures, one influence ranking and write scores."""
    run_dir.mkdir(parents=True)
    rng = np.random.default_rng(0)
    shards = [range(i, min(i + PER_SHARD, N_PROMPTS)) for i in range(0, N_PROMPTS, PER_SHARD)]
    names = [activation_file(i, len(shards), "safetensors") for i in range(len(shards))]
    files = [_write_shard(run_dir / name, shard, rng) for name, shard in zip(names, shards, strict=True)]
    prompts = [synthetic_prompt(_key(i), name, rng) for name, shard in zip(names, shards, strict=True) for i in shard]
    write_manifest(run_dir, synthetic_manifest(files, prompts))
    _write_analysis(run_dir)
    return run_dir


def _write_shard(path: Path, prompts: range, rng: np.random.Generator) -> FileRecord:
    size = N_LAYERS * SEQ_LEN * D_MLP * 2
    entries = {
        _key(i): {"dtype": "BF16", "shape": [N_LAYERS, SEQ_LEN, D_MLP], "data_offsets": [n * size, (n + 1) * size]}
        for n, i in enumerate(prompts)
    }
    header = json.dumps(entries).encode()
    with path.open("wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        for i in prompts:
            if i < N_FILLED:
                acts = rng.standard_normal((N_LAYERS, SEQ_LEN, D_MLP), dtype=np.float32)
                f.write((acts.view(np.uint32) >> 16).astype("<u2").tobytes())
        f.truncate(8 + len(header) + size * len(prompts))
    # Not the real checksum: hashing 8 GB takes a minute, and viewers check only sizes.
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256="0" * 64)


def synthetic_prompt(key: str, file: str, rng: np.random.Generator, d_mlp: int = D_MLP) -> PromptRecord:
    """The record of a prompt of random words."""
    ids = [0, *rng.integers(1, len(WORDS), SEQ_LEN - 1).tolist()]
    tokens = [WORDS[n] if n == 0 else f" {WORDS[n]}" for n in ids]
    return PromptRecord(
        probe_id=key, text="".join(tokens[1:]).strip(), token_ids=ids, tokens=tokens,
        tokens_ascii=[ascii_token(t) for t in tokens], seq_len=SEQ_LEN, activation_tensor_key=key,
        activation_tensor_shape=[N_LAYERS, SEQ_LEN, d_mlp], activation_tensor_dtype="bf16", file=file, nonfinite=0,
        truncated_from=None, metadata={},
    )  # fmt: skip


def _key(i: int) -> str:
    return f"probe_{i:04d}"


def synthetic_manifest(files: list[FileRecord], prompts: list[PromptRecord], d_mlp: int = D_MLP) -> Manifest:
    return Manifest(
        format_version=2, created_at_utc="2026-01-02T03:04:05+00:00", stage="poc1_dump_activations",
        n_prompts=len(prompts), n_tokens=sum(p.seq_len for p in prompts), n_layers=N_LAYERS,
        layers=list(range(N_LAYERS)), d_mlp=d_mlp, hook_name=HOOK_NAME, model_name="synthetic/gemma-2-2b-shape",
        model_revision=None, weights_fingerprint=None, architecture="Synthetic", tokenizer_sha256=None,
        attn_implementation="none", quantization="none", trust_remote_code=False, run_device="cpu",
        device_name="none", model_dtype="bf16", save_dtype="bf16", prepend_bos=True, bos_token_id=0,
        bos_policy="prepended", seed=0,
        activations_file=files[0].name if len(files) == 1 else None, files=files, versions={}, git_revision=None,
        flags_given=[], flags_resolved={}, wall_seconds=0.0, host="synthetic", failed_prompts=[], prompts=prompts,
    )  # fmt: skip


def _write_analysis(run_dir: Path) -> None:
    tables = {
        "neurons_aggregated": ("top_neurons.json", "analysis_meta.json"),
        "signatures": ("groups.json", "signatures_meta.json"),
    }
    stem = "influence_seed_prompt_dla_next_token_pos8_tok704"
    run = Run.open(run_dir)
    with open_results(run) as writer:
        for name, (other, record) in tables.items():
            writer.begin(record)
            writer.table(name, _stretched(read_table(SMALL, name), 2 if name == "signatures" else 1), csv=False)
            writer.json(other, read_json(SMALL, other))
            writer.record(record, _of_run(read_json(SMALL, record), run))
        mine = stem.replace("seed_prompt", _key(0))
        frame = _stretched(read_table(SMALL, stem), 1)
        writer.table(mine, frame, csv=False)
        summary = _of_run(read_json(SMALL, f"{stem}.json"), run)
        first = frame.nlargest(len(summary["neurons"]), "abs_influence")
        places = first[["layer", "neuron", "ctx_idx", "influence", "abs_influence"]].to_dict("records")
        summary["neurons"] = [{**n, **place} for n, place in zip(summary["neurons"], places, strict=True)]
        writer.json(f"{mine}.json", summary)
        scores = f"{stem}_write_scores.json"
        writer.json(scores.replace(stem, mine), _of_run(read_json(SMALL, scores), run))
        writer.record(mine + "_meta.json", _of_run(read_json(SMALL, stem + "_meta.json"), run))
        _write_scores(writer, run)


def _write_scores(writer: ResultsWriter, run: Run) -> None:
    """As `--mode write_scores` writes them: ten token ids of each side for every neuron, and the tokens' texts."""
    rng = np.random.default_rng(2)
    writer.begin(WRITES_META)
    with writer.file(table_name(WRITES), needed=1 << 26) as f:
        out = None
        for layer in range(N_LAYERS):  # a row group per layer, as stage 2 writes them
            columns = {"layer": np.full(D_MLP, layer, np.int32), "neuron": np.arange(D_MLP, dtype=np.int32)}
            columns |= {"mean": np.zeros(D_MLP, np.float32), "std": np.ones(D_MLP, np.float32)}
            for side, rank in itertools.product(WRITE_SIDES, range(N_WRITTEN)):
                columns[write_column(side, "id", rank)] = rng.integers(0, VOCAB, D_MLP, dtype=np.int32)
                columns[write_column(side, "score", rank)] = rng.standard_normal(D_MLP, dtype=np.float32)
            table = pa.table(columns)
            out = out or pq.ParquetWriter(f, table.schema)
            out.write_table(table)
        assert out is not None
        out.close()
    tokens = {"token_id": np.arange(VOCAB, dtype=np.int32), "token": [f" word{i}" for i in range(VOCAB)]}
    writer.table(WRITES_TOKENS, pd.DataFrame(tokens), csv=False)
    record = {"unit": "logit per unit of activation", "top": N_WRITTEN, "vocab": VOCAB, "run": run_identity(run)}
    about = {"stage": "poc2_analyze_run", "mode": "write_scores", "created_at_utc": run.manifest.created_at_utc}
    writer.record(WRITES_META, {**about, **record, "warnings": []})


def _stretched(frame: pd.DataFrame, rows_per_neuron: int) -> pd.DataFrame:
    """`frame` repeated to one row (or two, one per pole) for every neuron, with perturbed, distinct scores."""
    n = N_LAYERS * D_MLP * rows_per_neuron
    out = frame.iloc[np.resize(np.arange(len(frame)), n)].reset_index(drop=True)
    each = np.arange(n) // rows_per_neuron
    out["layer"], out["neuron"] = (each // D_MLP).astype(np.int32), (each % D_MLP).astype(np.int32)
    rng = np.random.default_rng(1)
    for column in ("mean_peak_abs", "influence", "abs_influence", "max_peak"):
        if column in out:
            out[column] = out[column] * rng.uniform(0.5, 1.5, n).astype(np.float32)
    if "influence" in out:
        out["abs_influence"] = out["influence"].abs()
    for column in (c for c in out.columns if c.endswith("prompt") or c == "prompt_id"):
        out[column] = _key(0)
    if "pole" in out:
        out["pole"] = np.resize(np.array(["+", "-"]), n)
    return out


def _of_run(record: Any, run: Run) -> Any:
    """The record with the identity of `run` and its first prompt."""
    mine = json.loads(json.dumps(record).replace('"seed_prompt"', json.dumps(_key(0))))
    m = run.manifest
    # n_tokens is without the BOS
    of_run = {
        "run": run_identity(run),
        "n_prompts": m.n_prompts,
        "n_tokens": m.n_tokens - m.n_prompts,
    }
    return mine | {k: v for k, v in of_run.items() if k in mine}


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    run_dir = make_viewer_run(parser.parse_args().run_dir)
    on_disk = sum((run_dir / name).stat().st_blocks * 512 for name in Run.open(run_dir).file_names())
    print(f"{run_dir}: {Run.open(run_dir).nbytes() / 1e9:.1f} GB, of which {on_disk / 1e9:.2f} GB are on disk")


if __name__ == "__main__":
    main()
