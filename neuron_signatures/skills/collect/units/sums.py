"""What the units of a bank do in each text of a part: sum, peak, and at how many tokens they are among the strongest.

Tokens come in chunks, those of many texts together, and are added to the rows of their texts at once.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.directions import Projection
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import sparse_arrays
from neuron_signatures.skills.collect.units.encoder import Active, Encoder
from neuron_signatures.skills.collect.units.gate import GateSums

NONE = -1
"""In the place of a unit where fewer than k are active."""


class Strongest(NamedTuple):
    """The k strongest units of a bank at each token, strongest first: columns of the bank, or `NONE`."""

    unit: Int[Tensor, "token k"]
    value: Float[Tensor, "token k"]


class BankSums(ABC):
    """Sums over the texts of a part. Memory: 12 bytes per text and column of the bank."""

    def __init__(self, bank: Bank, n_texts: int, top_k: int, device: torch.device) -> None:
        self.bank, self._k = bank, min(top_k, bank.n_units)
        self._topk = torch.zeros(n_texts, bank.width, dtype=torch.int32, device=device)

    def add(self, x: Float[Tensor, "token width"], text: Int[Tensor, " token"]) -> Strongest:
        """Add tokens; `text` is the row of the text of each. Returns the strongest units at each token."""
        found = self._add(x, text)
        key = text[:, None] * self.bank.width + found.unit
        key = key[found.unit != NONE]
        self._topk.view(-1).index_add_(0, key, torch.ones_like(key, dtype=torch.int32))
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the bank, as the reader of `skills/` wants them."""
        key = self.bank.key
        return {**self._arrays(), **sparse_arrays(f"{key}.topk.", sp.csr_array(self._topk.cpu().numpy()))}

    @abstractmethod
    def _add(self, x: Tensor, text: Tensor) -> Strongest: ...

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]: ...


class FeatureSums(BankSums):
    """Of the features of an autoencoder, with the sums for its gate."""

    def __init__(self, bank: Bank, encoder: Encoder, gate: GateSums, n_texts: int, top_k: int, device: torch.device):
        super().__init__(bank, n_texts, top_k, device)
        self._encoder, self.gate = encoder, gate
        self._total = torch.zeros(n_texts * bank.width, device=device)
        self._peak = torch.zeros(n_texts * bank.width, device=device)

    def _add(self, x: Tensor, text: Tensor) -> Strongest:
        active = self._encoder.active(x)
        self.gate.add(x, self._encoder.reconstruct(active), active)
        key = text[active.token] * self.bank.width + active.unit
        self._total.index_add_(0, key, active.value)
        self._peak.scatter_reduce_(0, key, active.value, "amax")
        return strongest_active(active, self._k)

    def _arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for name, values in (("total", self._total), ("peak", self._peak)):
            matrix = sp.csr_array(values.view(-1, self.bank.width).cpu().numpy())
            found.update(sparse_arrays(f"{self.bank.key}.{name}.", matrix))
        return found


class SignedSums(BankSums):
    """Of neurons, or of directions if there is a projection. Each pole has the activations of its sign."""

    def __init__(self, bank: Bank, projection: Projection | None, n_texts: int, top_k: int, device: torch.device):
        super().__init__(bank, n_texts, top_k, device)
        self._projection = projection
        self._total, self._peak = (torch.zeros(2, n_texts, bank.n_units, device=device) for _ in range(2))

    def _add(self, x: Tensor, text: Tensor) -> Strongest:
        acts = signed_acts(x, self._projection)
        for pole, values in enumerate((acts.clamp(min=0), acts.neg().clamp_(min=0))):
            self._total[pole].index_add_(0, text, values)
            _raise_rows(self._peak[pole], text, values)
        return strongest_signed(acts, self._k)

    def _arrays(self) -> dict[str, np.ndarray]:
        both = {"total": self._total, "peak": self._peak}
        return {f"{self.bank.key}.{name}": torch.cat(list(v), dim=1).cpu().numpy() for name, v in both.items()}


def signed_acts(x: Float[Tensor, "token width"], projection: Projection | None) -> Float[Tensor, "token unit"]:
    """Activations of neurons (x itself) or of directions."""
    acts: Tensor = x if projection is None else projection.acts(x[None])[0]
    return acts


def strongest_active(active: Active, k: int) -> Strongest:
    """The k largest active units of each token."""
    n = len(active.start)
    unit = torch.full((n, k), NONE, dtype=torch.int64, device=active.unit.device)
    value = torch.zeros(n, k, device=active.unit.device)
    if not active.most:
        return Strongest(unit, value)
    padded = torch.zeros(n, active.most, device=value.device)
    column = torch.arange(len(active.token), device=unit.device) - active.start[active.token]
    padded[active.token, column] = active.value
    largest = padded.topk(min(k, active.most), dim=1)
    at = (active.start[:, None] + largest.indices).clamp_(max=len(active.unit) - 1)
    width = largest.values.shape[1]
    unit[:, :width] = torch.where(largest.values > 0, active.unit[at], NONE)
    value[:, :width] = largest.values
    return Strongest(unit, value)


def strongest_signed(acts: Float[Tensor, "token unit"], k: int) -> Strongest:
    """The k units with the largest absolute value at each token, by pole."""
    largest = acts.abs().topk(k, dim=1)
    below = acts.gather(1, largest.indices) < 0
    unit = largest.indices + below * acts.shape[1]
    return Strongest(torch.where(largest.values > 0, unit, NONE), largest.values)


def _raise_rows(most: Tensor, row: Tensor, values: Tensor) -> None:
    """Raise rows of `most` to the largest values, in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.13 calls this function a beta
        most.index_reduce_(0, row, values, "amax")
