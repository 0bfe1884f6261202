"""The pass over the texts of one part: sums per text and unit, and the strongest units at every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.sites import SiteCapture
from neuron_signatures.runs.progress import Bar
from neuron_signatures.skills.collect.banks import LoadedBank
from neuron_signatures.skills.collect.batches import SiteReader, batches, counted_tokens
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts
from neuron_signatures.skills.collect.units.gate import GateSums
from neuron_signatures.skills.collect.units.strongest import NONE
from neuron_signatures.skills.collect.units.sums import BankSums, FeatureSums, SignedSums

TOP_UNIT, TOP_VALUE, NOT_FINITE = "top.unit", "top.value", "not_finite"
"""Arrays of an unfinished part: the strongest units [token, bank, rank], and of each bank the tokens left out."""


@dataclass(frozen=True, eq=False)
class PassSettings:
    """What is the same for all parts. `means` are the shifts of the gates, by the key of the bank."""

    model: LoadedModel
    capture: SiteCapture
    banks: Sequence[LoadedBank]
    texts: TokenisedTexts
    top_k: int
    batch_size: int
    means: Mapping[str, Float[np.ndarray, " width"]]


@dataclass(frozen=True, eq=False)
class PartArrays:
    """`sums` are what the reader of `skills/` reads; `rest` is needed until the command ends."""

    sums: dict[str, np.ndarray]
    rest: dict[str, np.ndarray]


def run_part(work: PassSettings, start: int, stop: int, bar: Bar) -> PartArrays:
    """The arrays of the texts `start` to `stop` (excluded)."""
    n_texts = stop - start
    sums = [_sums(work, bank, n_texts) for bank in work.banks]
    index = {bank.bank.key: i for i, bank in enumerate(work.banks)}
    counts = work.texts.n_counted[start:stop]
    first = np.cumsum(counts) - counts
    top_unit = np.full((int(counts.sum()), len(sums), work.top_k), NONE, np.int32)
    top_value = np.zeros(top_unit.shape, np.float32)
    reader = SiteReader(work.model, work.capture, work.banks, work.texts)
    device_type = work.model.device.type
    for batch in batches(work.texts, range(start, stop), work.batch_size, device_type):
        tokens = counted_tokens(work.texts, batch)
        text = np.array(batch)[tokens.row] - start
        slots = first[text] + tokens.pos - work.texts.first_pos
        row = torch.from_numpy(text)

        def take(bank: LoadedBank, where: slice, x: Tensor, row: Tensor = row, slots: np.ndarray = slots) -> None:
            i = index[bank.bank.key]
            found = sums[i].add(x, row[where].to(bank.device))
            k = found.unit.shape[1]
            top_unit[slots[where], i, :k] = found.unit.cpu().numpy()
            top_value[slots[where], i, :k] = found.value.cpu().numpy()

        reader.run(batch, tokens, take)
        bar.advance(len(slots))
    return _arrays(work.banks, sums, top_unit, top_value, reader.not_finite)


def _sums(work: PassSettings, bank: LoadedBank, n_texts: int) -> BankSums:
    if bank.encoder is None:
        return SignedSums(bank.bank, bank.projection, n_texts, work.top_k, bank.device)
    shift = torch.from_numpy(work.means[bank.bank.key]).to(bank.device)
    gate = GateSums(shift)
    return FeatureSums(bank.bank, bank.encoder, gate, n_texts, work.top_k, bank.device)


def _arrays(
    banks: Sequence[LoadedBank], sums: Sequence[BankSums], top_unit: np.ndarray, top_value: np.ndarray,
    not_finite: Mapping[str, int],
) -> PartArrays:  # fmt: skip
    counts = np.array([not_finite.get(bank.bank.key, 0) for bank in banks], np.int64)
    rest = {TOP_UNIT: top_unit, TOP_VALUE: top_value, NOT_FINITE: counts}
    found: dict[str, np.ndarray] = {}
    for bank_sums in sums:
        found.update(bank_sums.arrays())
        if isinstance(bank_sums, FeatureSums):
            rest.update({f"{bank_sums.bank.key}.{k}": v for k, v in bank_sums.gate_arrays().items()})
    return PartArrays(found, rest)
