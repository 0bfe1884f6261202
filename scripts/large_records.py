"""Synthetic corpora and states of a first pass at the size of a large run, written through the project's own code.

Tokens are random with Zipf's frequencies; one document in ten begins with the same passage. The lists of a state hold
random windows of its shard, each neuron its own, which is the worst case for reading: neurons of a real model share
many of their strongest windows.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from neuron_signatures.records.corpus.blocks import Block, blocks, shard_blocks
from neuron_signatures.records.pass1.contexts import entry_contexts
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.state import Header, State, save_state, state_files
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_files import (
    CorpusArrays,
    DocumentRow,
    write_corpus_arrays,
    write_documents,
    write_vocabulary,
)
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS_META, PARTS
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.sharding.shard import Shard

SEQUENCE, TEXT = 128, 127
"""Positions of a window, the BOS included, and its text tokens."""
VOCAB, DOCUMENT, GPU_BATCH = 50_000, 1000, 128
"""`DOCUMENT` is the mean number of tokens; documents have up to twice as many."""
_PASSAGE = 24
_AT_ONCE = 1 << 24


def write_corpus(run_dir: Path, n_tokens: int, *, mean: int = DOCUMENT, seed: int = 0) -> None:
    """A corpus of about `n_tokens` tokens in windows of `SEQUENCE`."""
    (run_dir / "records").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 2 * mean - 20, max(20, n_tokens // mean))
    first = np.concatenate([[0], np.cumsum(lengths)])
    parts = rng.choice(len(PARTS), len(lengths), p=(0.5, 0.2, 0.3))
    n_windows = -(-lengths // TEXT)
    document = np.repeat(np.arange(len(lengths), dtype=np.int32), n_windows)
    nth = np.arange(len(document)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    writer = ResultsWriter(run_dir, "records")
    writer.begin(CORPUS_META)
    with tempfile.TemporaryFile(dir=run_dir) as file:
        arrays = CorpusArrays(
            _tokens(file, first, rng), first[document] + nth * TEXT,
            np.minimum(TEXT, lengths[document] - nth * TEXT).astype(np.int32), np.zeros(len(document), np.int32),
            document,
        )  # fmt: skip
        write_corpus_arrays(writer, arrays)
    window = np.cumsum(n_windows) - n_windows
    columns = (parts, window, n_windows, first[:-1], lengths)
    write_documents(writer, (
        DocumentRow(f"document {i}", f"{i:064x}", PARTS[part], *rest)
        for i, (part, *rest) in enumerate(zip(*(c.tolist() for c in columns), strict=True))
    ))  # fmt: skip
    write_vocabulary(writer, range(VOCAB), [f" word{i}" for i in range(VOCAB)])
    counted = np.bincount(parts, weights=lengths, minlength=len(PARTS)).astype(int).tolist()
    writer.record(CORPUS_META, CorpusMeta(
        stage="poc4_extract_records", created_at_utc="", seed=seed, parts=dict(zip(PARTS, (50, 20, 30), strict=True)),
        sequence_length=SEQUENCE, stride=TEXT, skip_first=1, concatenate=False, prepend_bos=True, bos_token_id=0,
        tokenizer_sha256=None, source={"kind": "synthetic"}, source_sha256="0" * 64, n_documents=len(lengths),
        n_windows=len(document), n_tokens=int(first[-1]), n_counted=int(first[-1]),
        counted_by_part=dict(zip(PARTS, counted, strict=True)),
        documents_by_part=dict(zip(PARTS, np.bincount(parts, minlength=len(PARTS)).tolist(), strict=True)),
        dropped={}, complete=True, stopped=None,
    ).fields())  # fmt: skip


def _tokens(file, first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for start in range(0, int(first[-1]), _AT_ONCE):
        n = min(_AT_ONCE, int(first[-1]) - start)
        ids = np.float32(VOCAB) ** rng.random(n, dtype=np.float32)
        file.write(np.minimum(ids.astype(np.int32), VOCAB - 1).data)
    file.flush()
    tokens = np.memmap(file, np.int32, "r+")
    begins = first[:-1][np.diff(first) > _PASSAGE][::10]
    tokens[begins[:, None] + np.arange(_PASSAGE)] = np.arange(_PASSAGE) + 100
    return tokens


def write_states(
    run_dir: Path, corpus: Corpus, *, n_layers: int, n_neurons: int, top_k: int, n_shards: int
) -> list[str]:
    """The finished states of all shards, with full lists; returns their names."""
    found = blocks(corpus, GPU_BATCH)
    names = []
    for i in range(n_shards):
        shard = Shard(i + 1, n_shards)
        own = shard_blocks(corpus, found, shard)
        layers = [layer_records(corpus, own, n_neurons, top_k, seed=100 * i + row) for row in range(n_layers)]
        settings = {"layers": list(range(n_layers)), "top_k": top_k, "batch_size": GPU_BATCH}
        header = Header(
            settings=settings, first=own[0].number, stop=own[-1].number + 1, next=own[-1].number + 1,
            n_tokens=corpus.meta.n_tokens // n_shards, seconds=1.0, devices=["cpu"], attention=["none"],
        )  # fmt: skip
        names.append(state_files(run_dir).name(shard))
        save_state(run_dir, names[-1], State(header, layers))
    return names


def layer_records(corpus: Corpus, own: list[Block], n_neurons: int, top_k: int, *, seed: int) -> LayerRecords:
    """What a pass over these blocks could have kept: the largest of random values, sums and counts."""
    rng = np.random.default_rng(seed)
    layer = LayerRecords(n_neurons, top_k, torch.device("cpu"))
    start, stop = own[0].first_window, own[-1].stop_window
    documents = np.arange(corpus.window_document[start], corpus.window_document[stop - 1] + 1)
    first = np.searchsorted(corpus.window_document[start:stop], documents) + start
    sizes = np.diff(first, append=stop)
    for part, poles in enumerate(layer.lists):
        members = np.flatnonzero(corpus.document_part[documents] == part)
        for lists in poles:
            draws = np.cumsum(rng.standard_exponential((n_neurons, top_k)), axis=1).astype(np.float32)
            strata = rng.permuted(np.tile(np.arange(top_k), (n_neurons, 1)), axis=1)
            chosen = members[((strata + rng.random(strata.shape)) * len(members) / top_k).astype(int)]
            window = first[chosen] + (rng.random(chosen.shape) * sizes[chosen]).astype(int)
            pos = (rng.random(window.shape) * corpus.window_length[window]).astype(np.int16)
            lists.value[:, :top_k] = torch.from_numpy(np.float32(np.log(len(members))) - np.log(draws))
            lists.window[:, :top_k] = torch.from_numpy(window.astype(np.int32))
            lists.pos[:, :top_k] = torch.from_numpy(pos)
            context = entry_contexts(corpus, window.reshape(-1), pos.reshape(-1)).reshape(window.shape)
            lists.context[:, :top_k] = torch.from_numpy(context)
    layer.sums += torch.from_numpy(rng.random(layer.sums.shape)) * 1e6
    layer.count += 1_000_000
    layer.histogram += torch.from_numpy(rng.integers(0, 1000, layer.histogram.shape, dtype=np.int32))
    return layer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--tokens", type=int, default=1_000_000_000)
    parser.add_argument("--document", type=int, default=DOCUMENT, help="mean tokens of a document")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--neurons", type=int, default=14_336)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--top_k", type=int, default=100)
    args = parser.parse_args()
    write_corpus(args.run_dir, args.tokens, mean=args.document)
    with Corpus.open(args.run_dir) as corpus:
        write_states(
            args.run_dir, corpus, n_layers=args.layers, n_neurons=args.neurons, top_k=args.top_k, n_shards=args.shards
        )


if __name__ == "__main__":
    main()
