"""What sites hold at a uniform sample of token positions of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from torch import Tensor
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.records.corpus.encode import encode_documents
from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.corpus.reading import Document, Reading, batches
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.cutting import cut_items
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.records.corpus.windows import cut_windows
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.stats.hashes import mixed

_READ: int = 10
"""Tokens that are read for each token of the sample."""
_SALT = 4
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Window:
    """Text tokens of a window, and the first of them that counts."""

    token_ids: tuple[int, ...]
    counted_from: int

    @property
    def n_counted(self) -> int:
        return len(self.token_ids) - self.counted_from


def sampled_windows(
    source: Source, settings: CorpusSettings, tokenizer: TokenizerBase, *, n_tokens: int, seed: int
) -> list[Window]:
    """Windows with `n_tokens` counted positions, drawn from the part `explain` of the corpus.

    Only that part is read, so no document that explanations are scored on has shaped a direction, if stage 4 has the
    same `parts` and seed. Reading stops after ten times as many tokens, and the windows are a uniform sample of those
    read. Raises `UsageError` if there are fewer positions.
    """
    found = list(_windows(source, settings, tokenizer, _READ * n_tokens))
    order = np.argsort(mixed(np.arange(len(found)), seed, _SALT), kind="stable")
    chosen: list[Window] = []
    left = n_tokens
    for index in order.tolist():
        window = found[index]
        if left < window.n_counted:
            window = Window(window.token_ids[: window.counted_from + left], window.counted_from)
        chosen.append(window)
        left -= window.n_counted
        if left == 0:
            return chosen
    what = f"the part {PARTS[0]} of the corpus has {n_tokens - left:,} positions that count, {n_tokens:,} are wanted"
    raise UsageError(what, where="--max_tokens", next_step="Lower it, or give a larger corpus")


def site_values(
    model: LoadedModel, windows: Sequence[Window], places: Sequence[Place], settings: CorpusSettings
) -> dict[Place, Float32[np.ndarray, "token width"]]:
    """What the places hold at the counted positions of the windows, in one pass over them."""
    front = [] if settings.bos_token_id is None else [settings.bos_token_id]
    n_tokens = sum(w.n_counted for w in windows)
    with SiteCapture(model.hf, places) as capture:
        found = {place: np.empty((n_tokens, capture.widths[place]), np.float32) for place in places}
        at = 0
        for batch in _batches(windows, settings.sequence_length):
            inputs = [[*front, *w.token_ids] for w in batch]
            counted = [slice(len(front) + w.counted_from, len(ids)) for w, ids in zip(batch, inputs, strict=True)]
            stop = at + sum(w.n_counted for w in batch)
            rows = slice(at, stop)

            def take(site: str, layer: int, values: Tensor, rows: slice = rows, counted: list[slice] = counted) -> None:
                parts = [values[i, places].float().cpu().numpy() for i, places in enumerate(counted)]
                found[Place(site, layer)][rows] = np.concatenate(parts)  # type: ignore[arg-type]

            padded = pad_batch(inputs, device=model.device)
            with memory_faults(work_on(model.hf, f"a batch of {len(inputs)} windows", inputs[0])):
                capture.run(padded.input_ids, padded.attention_mask, take)
            at = stop
    return found


def _windows(source: Source, settings: CorpusSettings, tokenizer: TokenizerBase, max_tokens: int) -> Iterator[Window]:
    n_read = 0
    for found in batches(cut_items(source.items(), settings.max_document), Reading()):
        explain = [
            item.text
            for item in found
            if isinstance(item, Document) and part_index(item.digest, seed=settings.seed, percent=settings.parts) == 0
        ]
        for ids in encode_documents(tokenizer, explain):
            cut = cut_windows(len(ids), settings)
            for start, length, first in zip(*(a.tolist() for a in cut), strict=True):
                yield Window(tuple(ids[start : start + length].tolist()), first)
                n_read += length
                if n_read >= max_tokens:
                    return


def _batches(windows: Sequence[Window], sequence_length: int) -> Iterator[list[Window]]:
    """Windows of similar length together."""
    ordered = sorted(windows, key=lambda w: -len(w.token_ids))
    n = max(1, _BATCH_TOKENS // sequence_length)
    for start in range(0, len(ordered), n):
        yield list(ordered[start : start + n])
