"""Runs with synthetic records of a corpus, written through the real functions, without a model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from hostile import TOKENS as HOSTILE
from record_oracle import Lists, OracleMoments, OracleWindow, histograms, moments, strongest_lists

from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.manifest_file import write_manifest
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta, corpus_digest
from neuron_signatures.runs.records.names import PARTS, RECORDS
from neuron_signatures.runs.records.writing import (
    CorpusArrays,
    HistogramArrays,
    MomentArrays,
    RowArrays,
    SampleArrays,
    StrongestArrays,
    write_all_neurons,
    write_chosen,
    write_corpus,
)
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run

N_LAYERS, D_MLP = 2, 12
SEQUENCE_LENGTH = 24
_TEXT = (
    "the of a in is and to was for on . , Austin Dallas Texas Denver Boston Ohio capital city state river north def "
    "return class import self None 1 2 3 10 1999 plus equals angry happy sad afraid love she he they wrote said"
)
WORDS = _TEXT.split()
TOKENS = [f" {w}" for w in WORDS] + [t for t in HOSTILE if t not in ("<bos>", "\ud800")] + ["\\ud800"]
CAPITALS = [TOKENS.index(f" {w}") for w in ("Austin", "Denver", "Boston")]
CODE = [TOKENS.index(f" {w}") for w in ("def", "return", "class", "import", "self", "None")]
COMMON = TOKENS.index(" the")
DEAD, NEARLY_DEAD = 4, 5
"""Kinds of neurons, by `kind_of`."""
N_KINDS = 8
EDGES = np.array([0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0], np.float32)


@dataclass(frozen=True)
class Synthetic:
    """All that a synthetic corpus holds: the windows of each layer with all activations."""

    layers: list[int]
    windows: dict[int, list[OracleWindow]]
    texts: list[np.ndarray]
    parts: list[int]


def make_record_run(
    path: Path, *, layers: Sequence[int] | None = None, d_mlp: int | None = None, n_documents: int = 60,
    top_k: int = 10, n_sample: int = 40, chosen: Sequence[tuple[int, int]] | None = None, with_sample: bool = True,
    prepend_bos: bool = True, stride: int | None = None, seed: int = 0,
) -> Path:  # fmt: skip
    """Add synthetic records to the run in `path`, or make a run there that has records and no prompts.

    Layers and width are those of the run, else 2 layers of 12 neurons. Two of three neurons are in the sample (at most
    64), unless `chosen` names them; `with_sample=False` leaves the second pass out. Kinds of neurons (`kind_of`) repeat
    every 8: one token, a class of tokens, code (negative pole), a pair, dead, nearly dead, dense, hostile tokens.
    """
    if not (path / "manifest.json").exists():
        path.mkdir(parents=True, exist_ok=True)
        write_manifest(path, promptless_manifest(layers or range(N_LAYERS), d_mlp or D_MLP))
    with Run.open(path) as run:
        m = run.manifest
        made = synthetic(m.layers, m.d_mlp, n_documents=n_documents, prepend_bos=prepend_bos, stride=stride, seed=seed)
        pairs = [(layer, n) for layer in m.layers for n in range(m.d_mlp)]
        if chosen is None:
            chosen = [p for i, p in enumerate(pairs) if i % 3 != 2][:64]
        write_records(run, made, top_k=top_k, n_sample=n_sample, chosen=sorted(chosen) if with_sample else None,
                      prepend_bos=prepend_bos, stride=stride, seed=seed)  # fmt: skip
    return path


def promptless_manifest(layers: Sequence[int], d_mlp: int) -> Manifest:
    """Of a run that holds records and no prompts."""
    return Manifest(
        format_version=2, created_at_utc="2026-03-04T05:06:07+00:00", stage="poc4_extract_records", n_prompts=0,
        n_tokens=0, n_layers=max(layers) + 1, layers=list(layers), d_mlp=d_mlp,
        hook_name="blocks.{layer}.mlp.hook_post", model_name="toy", model_revision=None, weights_fingerprint=None,
        architecture="Toy", tokenizer_sha256="0" * 64, attn_implementation="eager", quantization="none",
        trust_remote_code=False, run_device="cpu", device_name="cpu", model_dtype="fp32", save_dtype="fp32",
        prepend_bos=True, bos_token_id=0, bos_policy="prepended", seed=0, activations_file=None, files=[], versions={},
        git_revision=None, flags_given=[], flags_resolved={}, wall_seconds=0.5, host="test", failed_prompts=[],
        prompts=[],
    )  # fmt: skip


def synthetic(
    layers: Sequence[int], d_mlp: int, *, n_documents: int = 60, prepend_bos: bool = True, stride: int | None = None,
    seed: int = 0,
) -> Synthetic:  # fmt: skip
    """Documents of random tokens, a third of which hold the same passage, and activations by the neurons' kinds."""
    random = np.random.default_rng(seed)
    weights = np.array([4.0 if i < 12 else 1.0 if i < len(WORDS) else 0.25 for i in range(len(TOKENS))])
    passage = random.choice(len(TOKENS), size=20, p=weights / weights.sum())
    texts = []
    for d in range(n_documents):
        ids = random.choice(len(TOKENS), size=int(random.integers(3, 90)), p=weights / weights.sum())
        texts.append(np.concatenate([passage, ids]) if d % 3 == 0 else ids)
    parts = [int(p) for p in random.choice(3, size=n_documents, p=[0.5, 0.2, 0.3])]
    windows = {layer: [] for layer in layers}
    for i, layer in enumerate(layers):
        for d, text in enumerate(texts):
            acts = activations(text, i, d_mlp, np.random.default_rng([seed, layer, d]))
            for start, stop, counted_from in spans_of(len(text), prepend_bos, stride):
                window = OracleWindow(
                    window=len(windows[layer]), document=d, part=parts[d], token_ids=tuple(text[start:stop].tolist()),
                    acts=acts[start:stop], counted_from=counted_from,
                )  # fmt: skip
                windows[layer].append(window)
    return Synthetic(list(layers), windows, texts, parts)


def spans_of(n: int, prepend_bos: bool, stride: int | None) -> list[tuple[int, int, int]]:
    """Start, stop and first counted position of each window of a text of n tokens."""
    size = SEQUENCE_LENGTH - prepend_bos
    step, first = stride or size, 0 if prepend_bos else 1
    out, done = [], 0
    for start in range(0, n, step):
        stop = min(n, start + size)
        counted_from = max(first, done - start)
        if counted_from < stop - start:
            out.append((start, stop, counted_from))
        done = stop
    return out


def kind_of(layer_row: int, neuron: int) -> int:
    return (neuron + 3 * layer_row) % N_KINDS


def activations(text: np.ndarray, layer_row: int, d_mlp: int, random: np.random.Generator) -> np.ndarray:
    """Axes `pos neuron`: weak negative noise as of GELU, and what the neuron's kind adds."""
    acts = -np.abs(random.normal(0, 0.05, (len(text), d_mlp)))
    for neuron in range(d_mlp):
        kind, size = kind_of(layer_row, neuron), 1 + 0.2 * (neuron % 5)
        column = acts[:, neuron]
        if kind == 0:
            column[text == CAPITALS[neuron % 3]] += 3 * size
        elif kind == 1:
            column[np.isin(text, CAPITALS)] += np.round(random.random(int(np.isin(text, CAPITALS).sum())) * 4) * size
        elif kind == 2:
            column[np.isin(text, CODE)] -= 2 * size
        elif kind == 3:
            column[1:][(text[:-1] == COMMON) & (text[1:] != COMMON)] += 1.5 * size
        elif kind in (DEAD, NEARLY_DEAD):
            column[:] = 0
            if kind == NEARLY_DEAD and len(text) == 80:
                column[7] = 0.5
        elif kind == 6:
            column[:] = random.normal(0.2, size, len(text))
        else:
            column[text >= len(WORDS)] += 2.5 * size
    return acts.astype(np.float32)


def write_records(
    run: Run, made: Synthetic, *, top_k: int, n_sample: int, chosen: Sequence[tuple[int, int]] | None,
    prepend_bos: bool = True, stride: int | None = None, seed: int = 0,
) -> None:  # fmt: skip
    """All files of `records/`; without `chosen`, those of the second pass are left out."""
    lists = {layer: strongest_lists(w, top_k=top_k) for layer, w in made.windows.items()}
    of_layer = {layer: moments(w) for layer, w in made.windows.items()}
    first = made.windows[made.layers[0]]
    in_histogram = {w.window for w in first if int(hashlib.sha256(str(w.window).encode()).hexdigest(), 16) % 8 == 0}
    counts = np.stack([_histograms(made.windows[layer], in_histogram) for layer in made.layers])
    corpus = corpus_meta(made, first, prepend_bos=prepend_bos, stride=stride, seed=seed)
    table = neuron_table(made, lists, of_layer)
    with open_results(run, RECORDS) as writer:
        write_corpus(writer, corpus_arrays(made, first), _documents(made, first), _vocabulary(), corpus)
        write_all_neurons(
            writer,
            StrongestArrays(*(np.stack([getattr(lists[layer], key) for layer in made.layers])
                              for key in Lists._fields)),
            MomentArrays(*(np.stack([getattr(of_layer[layer], key) for layer in made.layers])
                           for key in OracleMoments._fields)),
            HistogramArrays(EDGES, counts),
            table,
            RecordsMeta(
                **_of_model(run, corpus), layers=made.layers, n_layers=run.manifest.n_layers,
                d_mlp=run.manifest.d_mlp, top_k=top_k, batch_size=8, histogram_share=8, context=8, left_out={},
                n_shards=1, wall_seconds=12.5, tokens_per_second=100.0, n_dead=int((table["state"] == "dead").sum()),
                n_nearly_dead=int((table["state"] == "nearly dead").sum()),
            ),
        )  # fmt: skip
        if chosen is not None:
            sample, rows = chosen_arrays(made, lists, chosen, n_sample, seed)
            meta = SampleMeta(
                **_of_model(run, corpus), n_neurons=len(chosen), chosen_by="two of three neurons",
                n_windows=len(sample.windows), sample_seed=seed, bytes=sample.acts.nbytes + rows.acts.nbytes,
                n_rows=len(rows.window), worst_difference=0.0 if len(rows.window) else None,
            )  # fmt: skip
            write_chosen(writer, sample, rows, meta)


def corpus_arrays(made: Synthetic, windows: Sequence[OracleWindow]) -> CorpusArrays:
    lengths = [len(t) for t in made.texts]
    first_token = np.concatenate([[0], np.cumsum(lengths)])
    starts, seen = [], Counter[int]()
    for w in windows:
        text = made.texts[w.document].tolist()
        while tuple(text[seen[w.document] : seen[w.document] + len(w.token_ids)]) != w.token_ids:
            seen[w.document] += 1
        starts.append(int(first_token[w.document]) + seen[w.document])
        seen[w.document] += 1
    return CorpusArrays(
        tokens=np.concatenate(made.texts).astype(np.int32), window_start=np.array(starts, np.int64),
        window_length=np.array([len(w.token_ids) for w in windows], np.int32),
        window_counted_from=np.array([w.counted_from for w in windows], np.int32),
        window_document=np.array([w.document for w in windows], np.int32),
    )  # fmt: skip


def chosen_arrays(
    made: Synthetic, lists: dict[int, Lists], chosen: Sequence[tuple[int, int]], n_sample: int, seed: int
) -> tuple[SampleArrays, RowArrays]:
    n_windows = len(made.windows[made.layers[0]])
    picked = np.sort(np.random.default_rng(seed).permutation(n_windows)[:n_sample]).astype(np.int32)
    neurons = np.array(chosen, np.int32).reshape(-1, 2)
    lengths = [len(made.windows[made.layers[0]][w].token_ids) for w in picked]
    acts = [np.concatenate([made.windows[layer][w].acts[:, n] for w in picked]) for layer, n in chosen]
    sample = SampleArrays(
        neurons, picked, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.stack(acts) if acts else np.empty((0, sum(lengths)), np.float32),
    )  # fmt: skip
    windows = [sorted({int(w) for w in lists[layer].window[n].ravel() if w >= 0}) for layer, n in chosen]
    rows = [made.windows[layer][w].acts[:, n] for (layer, n), some in zip(chosen, windows, strict=True) for w in some]
    return sample, RowArrays(
        neurons, np.concatenate([[0], np.cumsum([len(w) for w in windows])]).astype(np.int64),
        np.array([w for some in windows for w in some], np.int32),
        np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
        np.concatenate(rows) if rows else np.empty(0, np.float32),
    )  # fmt: skip


def neuron_table(made: Synthetic, lists: dict[int, Lists], of_layer: dict[int, OracleMoments]) -> pd.DataFrame:
    """`neurons.parquet`; on the documents of part explain, except for `largest`."""
    rows = []
    for layer in made.layers:
        windows = made.windows[layer]
        everything = np.concatenate([w.acts[w.counted_from :] for w in windows])
        explain = np.concatenate([w.acts[w.counted_from :] for w in windows if w.part == 0])
        for neuron in range(everything.shape[1]):
            count, mean, m2, m3, m4 = (float(a[neuron, 0]) for a in of_layer[layer])
            largest = float(np.abs(everything[:, neuron]).max())
            rate = float((np.abs(explain[:, neuron]) >= 0.1 * largest).mean()) if largest else 0.0
            values = explain[:, neuron]
            row = {
                "layer": layer, "neuron": neuron, "count": int(count), "mean": mean, "std": m2**0.5,
                "skewness": m3 / m2**1.5 if m2 else None, "kurtosis": m4 / m2**2 if m2 else None,
                "max": float(values.max()), "min": float(values.min()), "rate_above": rate, "largest": largest,
                "state": "dead" if not largest else "nearly dead" if rate < 0.001 else "alive",
            }  # fmt: skip
            for pole, name in enumerate(("often_pos", "often_neg")):
                found = lists[layer]
                peaks = [
                    windows[w].token_ids[p]
                    for w, p in zip(found.window[neuron, 0, pole], found.pos[neuron, 0, pole], strict=True) if w >= 0
                ]  # fmt: skip
                common = Counter(peaks).most_common(5)
                tokens = [TOKENS[t] for t, _ in common]
                row[name] = json.dumps(tokens, ensure_ascii=False)
                row[f"{name}_share"] = common[0][1] / len(peaks) if peaks else None
            rows.append(row)
    return pd.DataFrame(rows).astype({"max": np.float32, "min": np.float32, "largest": np.float32})


def corpus_meta(
    made: Synthetic, windows: Sequence[OracleWindow], *, prepend_bos: bool, stride: int | None, seed: int
) -> CorpusMeta:
    counted = [sum(len(w.token_ids) - w.counted_from for w in windows if w.part == p) for p in range(3)]
    digests = "".join(_sha256(t) for t in made.texts)
    return CorpusMeta(
        stage="poc4_extract_records", created_at_utc="2026-03-04T05:06:07+00:00", seed=seed,
        parts={"explain": 50, "select": 20, "report": 30}, sequence_length=SEQUENCE_LENGTH,
        stride=stride or SEQUENCE_LENGTH - prepend_bos, skip_first=1, concatenate=False, prepend_bos=prepend_bos,
        bos_token_id=0 if prepend_bos else None, tokenizer_sha256="0" * 64, source={"kind": "synthetic"},
        source_sha256=hashlib.sha256(digests.encode()).hexdigest(), n_documents=len(made.texts),
        n_windows=len(windows), n_tokens=sum(len(t) for t in made.texts), n_counted=sum(counted),
        counted_by_part=dict(zip(PARTS, counted, strict=True)),
        documents_by_part={p: made.parts.count(i) for i, p in enumerate(PARTS)},
        dropped={"duplicates": 2, "empty": 0, "too_short": 0}, complete=True, stopped=None,
    )  # fmt: skip


def _histograms(windows: Sequence[OracleWindow], chosen: set[int]) -> np.ndarray:
    """The oracle's loops for few neurons, numpy for many."""
    if windows[0].acts.shape[1] <= 64:
        return histograms(windows, EDGES, chosen)
    b = len(EDGES)
    counts = np.zeros((windows[0].acts.shape[1], 3, 2 * b), np.uint32)
    for w in windows:
        if w.window in chosen:
            x = w.acts[w.counted_from :]
            j = np.searchsorted(EDGES, np.abs(x), side="right") - 1
            neurons = np.broadcast_to(np.arange(x.shape[1]), x.shape)
            np.add.at(counts, (neurons, w.part, np.where(x >= 0, b + j, b - 1 - j)), 1)
    return counts


def _documents(made: Synthetic, windows: Sequence[OracleWindow]) -> pd.DataFrame:
    n_windows = Counter(w.document for w in windows)
    first_window = np.concatenate([[0], np.cumsum([n_windows[d] for d in range(len(made.texts))])])
    first_token = np.concatenate([[0], np.cumsum([len(t) for t in made.texts])])
    names = [f"data.jsonl:{d}" if d % 4 else TOKENS[-1 - d // 4] for d in range(len(made.texts))]
    return pd.DataFrame({
        "name": names, "sha256": [_sha256(t) for t in made.texts], "part": [PARTS[p] for p in made.parts],
        "first_window": first_window[:-1].astype(np.int64),
        "n_windows": np.array([n_windows[d] for d in range(len(made.texts))], np.int32),
        "first_token": first_token[:-1].astype(np.int64), "n_tokens": np.array([len(t) for t in made.texts], np.int32),
    })  # fmt: skip


def _vocabulary() -> pd.DataFrame:
    return pd.DataFrame({"token_id": np.arange(len(TOKENS), dtype=np.int64), "token": TOKENS})


def _of_model(run: Run, corpus: CorpusMeta) -> dict:
    m = run.manifest
    names = "model_name", "model_revision", "weights_fingerprint", "model_dtype", "device_name", "attn_implementation"
    return {"stage": "poc4_extract_records", "created_at_utc": "2026-03-04T06:07:08+00:00",
            "corpus_sha256": corpus_digest(corpus), **{name: getattr(m, name) for name in names}}  # fmt: skip


def _sha256(text: np.ndarray) -> str:
    return hashlib.sha256(text.tobytes()).hexdigest()
