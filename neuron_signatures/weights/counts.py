"""How often the corpus of a run has each token: documents of `explain` and `select` only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import CORPUS_META, PARTS, RECORDS, Part

COUNTED: Final[tuple[Part, ...]] = ("explain", "select")
CORPUS_RECORD: Final = f"{RECORDS}/{CORPUS_META}"
_AT_ONCE: Final = 1 << 20


def token_counts(run_dir: Path, vocab: int) -> Int64[np.ndarray, " vocab"] | None:
    """Counts over the tokens that windows of these parts cover, each once. None if the run has no corpus.

    Raises `BadRunError` for a token that the model does not have.
    """
    if not inside(run_dir, CORPUS_RECORD).is_file():
        return None
    counts = np.zeros(vocab, np.int64)
    with Corpus.open(run_dir) as corpus:
        for first, stop in _covered(corpus):
            ids = corpus.tokens_between(first, stop)
            if ids.min() < 0 or ids.max() >= vocab:
                what = f"the corpus has token {ids.max()}, the model's are in 0..{vocab - 1}"
                raise BadRunError(what, where=str(run_dir), next_step="Load the model of the run")
            counts += np.bincount(ids, minlength=vocab)
    return counts


def _covered(corpus: Corpus) -> Iterator[tuple[int, int]]:
    """Parts of the corpus that windows cover, none twice, of at most `_AT_ONCE` tokens."""
    wanted = np.isin(corpus.document_part, [PARTS.index(part) for part in COUNTED])[corpus.window_document]
    starts = corpus.window_start[wanted].astype(np.int64)
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], (starts + corpus.window_length[wanted])[order]
    reach = np.maximum.accumulate(stops)
    begins = np.flatnonzero(np.concatenate([np.ones(1, bool), starts[1:] > reach[:-1]])[: len(starts)])
    ends = np.append(begins[1:] - 1, len(starts) - 1)
    for begin, end in zip(begins, ends, strict=False):  # without windows, there is an end and no beginning
        for first in range(int(starts[begin]), int(reach[end]), _AT_ONCE):
            yield first, min(first + _AT_ONCE, int(reach[end]))
