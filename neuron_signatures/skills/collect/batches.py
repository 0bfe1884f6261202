"""Which texts run together, and what of their tensors counts.

A part is some consecutive texts whose results are stored together; within it, texts of similar length share a batch.
Both depend on the texts and the settings only, so that a resumed command computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.sites import SiteCapture
from neuron_signatures.runs.skills.banks import Bank, Site
from neuron_signatures.skills.collect.banks import LoadedBank
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts

PART_BYTES: Final = 1 << 28
"""Of the sums and lists of one part, in memory; at least one text."""
PART_TOKENS: Final = 1 << 15
_SUMS_BYTES: Final = 12  # per text and column: two sums in float32 and a count
_LISTED_BYTES: Final = 12  # per token, bank and rank: a unit and a value, and while they are joined another one
_BATCH_TOKENS: Final = {"cpu": 2048, "cuda": 1 << 15, "mps": 4096}
_CHUNK_VALUES: Final = {"cpu": 1 << 20, "cuda": 1 << 26, "mps": 1 << 24}
_LEAST_CHUNK: Final = 64


class Tokens(NamedTuple):
    """Tokens of a batch that are read: the place of their text in the batch, and their position."""

    row: Int[np.ndarray, " token"]
    pos: Int[np.ndarray, " token"]


Choose = Callable[[Sequence[int]], Tokens]
"""The tokens that are read of a batch of these texts."""
Take = Callable[[LoadedBank, slice, Float[Tensor, "token width"]], None]
"""Called for each bank with some of the chosen tokens of a batch, in order, and the values of its site, float32."""


def default_batch_size(device_type: str) -> int:
    """The most texts of a batch; batches of long texts have fewer."""
    return 256 if device_type == "cuda" else 64


def chunk_tokens(width: int, device_type: str) -> int:
    """How many tokens of a bank of this width are encoded at a time."""
    return max(_LEAST_CHUNK, _CHUNK_VALUES[device_type] // width)


def part_starts(texts: TokenisedTexts, banks: Sequence[Bank], top_k: int) -> list[int]:
    """The number of the first text of each part, and that after the last one."""
    per_text = _SUMS_BYTES * sum(bank.width for bank in banks)
    per_token = _LISTED_BYTES * len(banks) * top_k
    starts, size, tokens = [0], 0, 0
    for number, n in enumerate(texts.n_counted.tolist()):
        cost = per_text + n * per_token
        if number > starts[-1] and (size + cost > PART_BYTES or tokens + n > PART_TOKENS):
            starts.append(number)
            size = tokens = 0
        size, tokens = size + cost, tokens + n
    return [*starts, len(texts.texts)]


def batches(texts: TokenisedTexts, numbers: Sequence[int], batch_size: int, device_type: str) -> Iterator[list[int]]:
    """The texts in batches, by length: of at most `batch_size` texts, and of so many tokens with padding."""
    most, batch = _BATCH_TOKENS[device_type], list[int]()
    for number in sorted(numbers, key=lambda n: (len(texts.ids[n]), n)):
        if batch and (len(batch) >= batch_size or (len(batch) + 1) * len(texts.ids[number]) > most):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def counted_tokens(texts: TokenisedTexts, numbers: Sequence[int]) -> Tokens:
    """All tokens of these texts that count, text by text."""
    n = texts.n_counted[list(numbers)]
    row = np.repeat(np.arange(len(n)), n)
    pos = np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n) + texts.first_pos
    return Tokens(row, pos)


class SiteReader:
    """Runs batches of texts and gives the chosen tokens of each bank's site.

    Memory: the values of one batch at each place (2,048 tokens on a CPU), and one chunk of a bank's units
    (`chunk_tokens`), however many texts there are and however long they are.
    """

    def __init__(
        self, model: LoadedModel, capture: SiteCapture, banks: Sequence[LoadedBank], texts: TokenisedTexts
    ) -> None:
        self._model, self._capture, self._texts = model, capture, texts
        self._at = {place: [b for b in banks if b.place == place] for place in capture.places}
        self.not_finite: dict[str, int] = {}
        """Tokens whose values are not finite, by bank. They are read as zeros."""

    def run(self, numbers: Sequence[int], tokens: Tokens, take: Take) -> None:
        """One forward pass. Raises `EnvironmentProblem` if memory runs out."""
        inputs = [self._texts.ids[n].tolist() for n in numbers]
        padded = pad_batch(inputs, device=self._model.device)
        flat = torch.from_numpy(tokens.row * padded.input_ids.shape[1] + tokens.pos)

        def sink(site: Site, layer: int, values: Tensor) -> None:
            chosen = values.flatten(0, 1).index_select(0, flat.to(values.device)).float()
            for bank in self._at[site, layer]:  # type: ignore[index]  # a place is such a pair
                self._give(bank, self._finite(bank, chosen), take)

        what = f"a batch of {len(inputs)} texts (--batch_size)"
        with memory_faults(work_on(self._model.hf, what, inputs[-1])):
            self._capture.run(padded.input_ids, padded.attention_mask, sink)

    def _give(self, bank: LoadedBank, values: Tensor, take: Take) -> None:
        step = chunk_tokens(bank.bank.width, bank.device.type)
        for start in range(0, len(values), step):
            take(bank, slice(start, min(start + step, len(values))), values[start : start + step])

    def _finite(self, bank: LoadedBank, values: Tensor) -> Tensor:
        if bool(torch.isfinite(values.sum())):
            return values
        bad = ~torch.isfinite(values).all(1)
        self.not_finite[bank.bank.key] = self.not_finite.get(bank.bank.key, 0) + int(bad.sum())
        return torch.where(bad[:, None], 0.0, values)
