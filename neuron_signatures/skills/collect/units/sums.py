"""What the units of a bank do in each text of a part: sum, peak, and at how many tokens they are among the strongest.

Tokens come in chunks, those of many texts together, and are added to the rows of their texts at once.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.directions import Projection
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import csr_arrays
from neuron_signatures.skills.collect.units.encoder import Encoder, true_indices
from neuron_signatures.skills.collect.units.gate import GateSums
from neuron_signatures.skills.collect.units.strongest import NONE, Strongest, strongest_signed


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
        return {**self._arrays(), **_sparse(f"{key}.topk.", [("", self._topk)])}

    @abstractmethod
    def _add(self, x: Tensor, text: Tensor) -> Strongest: ...

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]: ...


class FeatureSums(BankSums):
    """Of the features of an autoencoder, with the sums for its gate."""

    def __init__(self, bank: Bank, encoder: Encoder, gate: GateSums, n_texts: int, top_k: int, device: torch.device):
        super().__init__(bank, n_texts, top_k, device)
        self._encoder, self._gate = encoder, gate
        self._total = torch.zeros(n_texts * bank.width, device=device)
        self._peak = torch.zeros(n_texts * bank.width, device=device)

    def _add(self, x: Tensor, text: Tensor) -> Strongest:
        active, found = self._encoder.active_and_strongest(x, self._k)
        self._gate.add(x, self._encoder.reconstruct(active), len(active.value))
        key = (text * self.bank.width)[active.token] + active.unit
        self._total.index_add_(0, key, active.value)
        self._peak.scatter_reduce_(0, key, active.value, "amax")
        return found

    def gate_arrays(self) -> dict[str, np.ndarray]:
        """What `gate.joined` adds up."""
        return self._gate.arrays(self._peak.view(-1, self.bank.width).gt(0).any(0).cpu().numpy())

    def _arrays(self) -> dict[str, np.ndarray]:
        peak, total = (values.view(-1, self.bank.width) for values in (self._peak, self._total))
        return _sparse(f"{self.bank.key}.", [("peak.", peak), ("total.", total)])


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


def _sparse(prefix: str, matrices: Sequence[tuple[str, Tensor]]) -> dict[str, np.ndarray]:
    """The arrays of matrices that are above 0 where the first one is."""
    first = matrices[0][1].cpu().numpy()
    flat = true_indices(first > 0)
    n, width = first.shape
    starts = flat.searchsorted(np.arange(0, (n + 1) * width, width))
    column = (flat - np.repeat(np.arange(n), np.diff(starts)) * width).astype(np.int32)
    found = {}
    for name, matrix in matrices:
        values = matrix.cpu().numpy().reshape(-1).take(flat)
        found.update(csr_arrays(f"{prefix}{name}", starts, column, values))
    return found


def _raise_rows(most: Tensor, row: Tensor, values: Tensor) -> None:
    """Raise rows of `most` to the largest values, in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.13 calls this function a beta
        most.index_reduce_(0, row, values, "amax")
