"""The uniform sample of tokens: thresholds of neurons and directions, and the first look at the autoencoders.

A threshold is a quantile of the stored activations of a pole (float16, zeros included), so that a share of
1 - quantile of the sample at most is above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.sites import SiteCapture
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.skills.reader import sparse_arrays
from neuron_signatures.skills.collect.banks import LoadedBank
from neuron_signatures.skills.collect.batches import SiteReader, Tokens, batches
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts
from neuron_signatures.skills.collect.units.gate import Gate, GateSums, joined
from neuron_signatures.skills.collect.units.sums import signed_acts

_LARGEST = float(np.finfo(np.float16).max)
_COLUMNS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled tokens in the order of texts and positions."""

    text: Int[np.ndarray, " token"]
    pos: Int[np.ndarray, " token"]
    token_id: Int[np.ndarray, " token"]


@dataclass(eq=False)
class Calibration:
    """What the sample says. `arrays` are those of the file of the sample, `means` of the values at each autoencoder's
    site, and `gates` the quality of the autoencoders on the sample; both by the key of the bank."""

    arrays: dict[str, np.ndarray]
    means: dict[str, Float[np.ndarray, " width"]] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)


def draw_sample(texts: TokenisedTexts, n: int, seed: int) -> Sample:
    """At most `n` of the tokens that count, without replacement, each as likely as the others."""
    counts = texts.n_counted
    total = int(counts.sum())
    chosen = np.sort(np.random.default_rng(seed).choice(total, size=min(n, total), replace=False))
    ends = np.cumsum(counts)
    text = np.searchsorted(ends, chosen, side="right")
    pos = chosen - (ends - counts)[text] + texts.first_pos
    ids = np.array([texts.ids[t][p] for t, p in zip(text.tolist(), pos.tolist(), strict=True)], np.int32)
    return Sample(text.astype(np.int32), pos.astype(np.int32), ids)


def calibrate(
    model: LoadedModel, capture: SiteCapture, banks: Sequence[LoadedBank], texts: TokenisedTexts, sample: Sample,
    *, quantile: float, batch_size: int, progress: ProgressOf,
) -> Calibration:  # fmt: skip
    """Run the texts that have sampled tokens, and keep the units there.

    Memory: 2 bytes per token of the sample and neuron, and the active features of the sample.
    """
    reader = SiteReader(model, capture, banks, texts)
    kept = {b.bank.key: _Features(b) if b.encoder is not None else _Signed(b) for b in banks}
    numbers = np.unique(sample.text).tolist()
    rows: list[np.ndarray] = []
    with progress("texts of the sample", len(numbers)) as bar:
        for batch in batches(texts, numbers, batch_size, model.device.type):
            place_of = {number: row for row, number in enumerate(batch)}
            at = np.flatnonzero(np.isin(sample.text, batch))
            tokens = Tokens(np.array([place_of[t] for t in sample.text[at].tolist()]), sample.pos[at].astype(np.int64))
            reader.run(batch, tokens, lambda bank, where, x: kept[bank.bank.key].add(x))
            rows.append(at)
            bar.advance(len(batch))
    order = np.argsort(np.concatenate(rows), kind="stable")
    arrays = {"text": sample.text, "position": sample.pos, "token_id": sample.token_id}
    found = Calibration(arrays)
    for bank in banks:
        kept.pop(bank.bank.key).finish(order, quantile, found)
    return found


class _Features:
    """Active features and the sums of their autoencoder's gate at the sampled tokens."""

    def __init__(self, bank: LoadedBank) -> None:
        assert bank.encoder is not None
        self._bank, self._encoder = bank.bank, bank.encoder
        self._gate: GateSums | None = None
        self._sum: Tensor | None = None
        self._blocks: list[sp.csr_array] = []

    def add(self, x: Float[Tensor, "token width"]) -> None:
        active = self._encoder.active(x)
        if self._gate is None:
            self._gate, self._sum = GateSums(x.mean(0)), torch.zeros_like(x[0], dtype=torch.float64)
        assert self._sum is not None
        self._sum += x.sum(0, dtype=torch.float64)
        self._gate.add(x, self._encoder.reconstruct(active), len(active.value))
        values = active.value.clamp(max=_LARGEST).half().cpu().numpy()
        starts = np.append(active.start.cpu().numpy(), len(values))
        shape = (len(x), self._bank.width)
        # scipy has no float16: the bits stand for the values
        self._blocks.append(sp.csr_array((values.view(np.int16), active.unit.cpu().numpy(), starts), shape=shape))

    def finish(self, order: Int[np.ndarray, " token"], quantile: float, found: Calibration) -> None:
        assert self._gate is not None and self._sum is not None
        key = self._bank.key
        matrix = sp.csr_array(sp.vstack(self._blocks, format="csr"))[order]
        fired = np.bincount(matrix.indices, minlength=self._bank.width) > 0
        stored = sparse_arrays(f"{key}.", matrix)
        stored[f"{key}.values"] = stored[f"{key}.values"].view(np.float16)
        found.arrays.update(stored)
        found.arrays[f"{key}.threshold"] = np.zeros(self._bank.width, np.float32)
        found.gates[key] = joined([self._gate.arrays(fired)])
        found.means[key] = (self._sum / len(order)).float().cpu().numpy()


class _Signed:
    """Activations of all neurons or directions at the sampled tokens."""

    def __init__(self, bank: LoadedBank) -> None:
        self._bank, self._projection = bank.bank, bank.projection
        self._blocks: list[np.ndarray] = []

    def add(self, x: Float[Tensor, "token width"]) -> None:
        acts = signed_acts(x, self._projection).clamp(-_LARGEST, _LARGEST)
        self._blocks.append(acts.half().cpu().numpy())

    def finish(self, order: Int[np.ndarray, " token"], quantile: float, found: Calibration) -> None:
        acts = np.concatenate(self._blocks)[order]
        self._blocks.clear()
        found.arrays[f"{self._bank.key}.acts"] = acts
        found.arrays[f"{self._bank.key}.threshold"] = pole_quantiles(acts, quantile)


def pole_quantiles(acts: Float[np.ndarray, "token unit"], quantile: float) -> Float[np.ndarray, " pole"]:
    """The quantile of each pole's activations, first the positive poles."""
    found = []
    for sign in (1, -1):
        for start in range(0, acts.shape[1], _COLUMNS_AT_ONCE):
            columns = sign * acts[:, start : start + _COLUMNS_AT_ONCE].astype(np.float32)
            found.append(np.quantile(np.maximum(columns, 0), quantile, axis=0).astype(np.float32))
    return np.concatenate(found)
