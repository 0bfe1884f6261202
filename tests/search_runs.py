"""Runs to search in: explanations written by hand, synthetic records, write scores, and an embedder without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from explanation_logs import explanation, write_log
from record_runs import make_record_run

from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import (
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    open_results,
    write_column,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.words import words_of
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.search.request import IndexRequest
from neuron_signatures.search.stage import make_index

DIMENSIONS = 16
TEXTS = {
    "L0N0+": "fires on the names of capital cities",
    "L0N1+": "fires on capital letters",
    "L0N1-": "Café and naïve: words with accents",
    "L0N2+": "Python code, such as def and return",
    "L1N3+": "the capital, the capital, the capital",
    "L1N3-": "首都和城市的名字",
    "L1N5+": "fires on capital letters",
    "L1N6-": "numbers; the state containing Dallas",
}
"""By pole; two poles have the same text."""


class WordEmbedder:
    """Unit vectors that are sums of a random direction for each word, in place of a model."""

    def __init__(
        self, name: str = "words", *, fingerprint: str | None = "words:1", dimensions: int = DIMENSIONS
    ) -> None:
        self.name, self.fingerprint, self.dimensions, self.max_tokens = name, fingerprint, dimensions, 256
        self.model = SimpleNamespace(config=SimpleNamespace(_commit_hash="abc"))
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        self.embedded += texts
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> np.ndarray:
        parts = [self._of(word.casefold()) for word in words_of(text)] or [self._of("")]
        total = np.sum(parts, axis=0)
        return (total / np.linalg.norm(total)).astype(np.float32)

    def _of(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.dimensions)


def entries(texts: Mapping[str, str] = TEXTS, **changes: Any) -> list[Any]:
    """Explanations of poles such as `L0N1+`."""
    return [explanation(text, **place(at), **changes) for at, text in texts.items()]


def place(label: str) -> dict[str, Any]:
    layer, _, rest = label[1:].partition("N")
    return {"layer": int(layer), "neuron": int(rest[:-1]), "pole": rest[-1]}


def explained_run(path: Path, texts: Mapping[str, str] = TEXTS) -> Path:
    """Synthetic records of 2 layers of 12 neurons, and one set of explanations."""
    make_record_run(path, n_documents=30)
    write_log(path, *entries(texts))
    return path


def index(run_dir: Path, embedder: WordEmbedder | None = None, **changes: Any) -> Any:
    """The summary of a new index; without an embedder, without vectors."""
    request = IndexRequest(run_dir, **{"embedder": "none", **changes})
    return make_index(request, silent, embedder)  # type: ignore[arg-type]


def exemplars_of(run_dir: Path, k: int) -> dict[NeuronPole, list[tuple[str, str, int]]]:
    """Text, peak token and window of the strongest windows of each pole of the part explain that have its sign and more
    than a tenth of the first one's activation."""
    found = {}
    with Records.open(run_dir) as records:
        for layer in records.layers:
            for neuron in range(records.d_mlp):
                for pole in POLES:
                    sign = 1 if pole == "+" else -1
                    windows = records.strongest(layer, neuron, pole, parts=("explain",), k=k, rows=False)
                    first = sign * (windows[0].value or 0) if windows else 0
                    strong = [w for w in windows if sign * (w.value or 0) > max(0, 0.1 * first)]
                    found[NeuronPole(layer, neuron, pole)] = [
                        ("".join(w.tokens), w.tokens[w.pos or 0], w.window) for w in strong
                    ]
    return found


def write_writes(
    run_dir: Path, rows: Mapping[tuple[int, int], tuple[Sequence[tuple[str, float]], Sequence[tuple[str, float]]]],
    *, std: float | None = 0.5,
) -> None:  # fmt: skip
    """Tables of write scores: of each neuron what it promotes and suppresses, strongest first; the mean is 0."""
    vocabulary = sorted({token for sides in rows.values() for side in sides for token, _ in side})
    top = max(len(side) for sides in rows.values() for side in sides)
    table: list[dict[str, Any]] = []
    for (layer, neuron), sides in sorted(rows.items()):
        row: dict[str, Any] = {"layer": layer, "neuron": neuron, "mean": 0.0, "std": std}
        for side, written in zip(WRITE_SIDES, sides, strict=True):
            for rank in range(top):
                there = rank < len(written)
                row[write_column(side, "id", rank)] = vocabulary.index(written[rank][0]) if there else None
                row[write_column(side, "score", rank)] = written[rank][1] if there else None
        table.append(row)
    frame = pd.DataFrame(table)
    ids = [c for c in frame if "_id_" in c]
    frame = frame.astype(
        {**dict.fromkeys(ids, "Int32"), **dict.fromkeys((c for c in frame if "_score_" in c), "float64")}
    )
    with Run.open(run_dir) as run, open_results(run) as writer:
        writer.begin(WRITES_META)
        writer.table(WRITES, frame, csv=False)
        tokens = {"token_id": np.arange(len(vocabulary), dtype=np.int32), "token": vocabulary}
        writer.table(WRITES_TOKENS, pd.DataFrame(tokens), csv=False)
        about = {"stage": "poc2_analyze_run", "mode": "write_scores", "created_at_utc": "2026-01-02T03:04:05+00:00"}
        made = {"unit": "logit", "top": top, "vocab": len(vocabulary), "run": run_identity(run), "warnings": []}
        writer.record(WRITES_META, {**about, **made})
