"""First passes over small corpora for tests, and all activations that they see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attribution_cases import loaded
from corpora import Texts, build
from record_oracle import OracleWindow

from neuron_signatures.models.capture import MlpCapture, pad_batch
from neuron_signatures.records.corpus.blocks import batches, blocks
from neuron_signatures.records.pass1.run import FirstPass, PassSettings
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.sharding.shard import WHOLE, Shard


def texts(n: int = 70, seed: int = 0) -> list[str]:
    """Short and long documents over few letters, with contexts that occur in several of them."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        words = ["".join(rng.choice(list("abcde "), rng.integers(1, 9))) for _ in range(rng.integers(1, 7))]
        if i % 5 == 0:
            words.insert(0, "the same words before and the same words after")
        found.append(" ".join(words))
    return found


def small_corpus(folder: Path, **settings: Any) -> Corpus:
    build(folder, Texts(texts()), **{"sequence_length": 12, **settings})
    return Corpus.open(folder)


def first_pass(
    corpus: Corpus, folder: Path, name: str = "gemma2", *, layers: Sequence[int] = (0, 1), shard: Shard = WHOLE,
    **changes: Any,
) -> FirstPass:  # fmt: skip
    """A pass with lists of 5 over the layers of a tiny model."""
    settings = PassSettings(tuple(layers), **{"top_k": 5, "batch_size": 3, **changes})
    return FirstPass(folder, loaded(name), "transformers", corpus, settings, {}, shard, checkpoint_seconds=1e9)


def all_windows(work: FirstPass) -> list[list[OracleWindow]]:
    """Per layer, every window with the activations of all neurons, from the batches of the pass."""
    corpus, meta = work.corpus, work.corpus.meta
    front = [] if meta.bos_token_id is None else [meta.bos_token_id]
    found: list[list[OracleWindow]] = [[] for _ in work.settings.layers]
    with MlpCapture(work.model.hf, work.settings.layers) as capture:
        for block in blocks(corpus, work.settings.batch_size):
            for batch in batches(corpus, block, work.settings.batch_size):
                inputs = [[*front, *corpus.token_ids(int(w)).tolist()] for w in batch]
                padded = pad_batch(inputs, device=torch.device("cpu"))
                for row, acts in enumerate(capture.run(padded.input_ids, padded.attention_mask)):
                    for i, w in enumerate(batch.tolist()):
                        values = acts[i, len(front) : len(inputs[i])].float().numpy().copy()
                        document = int(corpus.window_document[w])
                        found[row].append(OracleWindow(
                            w, document, int(corpus.document_part[document]), tuple(corpus.token_ids(w).tolist()),
                            values, int(corpus.window_counted_from[w]),
                        ))  # fmt: skip
    return [sorted(of_layer, key=lambda w: w.window) for of_layer in found]
