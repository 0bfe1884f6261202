"""What the texts of half `find` say about the units of a bank: how often each fires, its peak, its spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]
from jaxtyping import Bool, Float64

from neuron_signatures.runs.skills.banks import NEURONS, Bank
from neuron_signatures.runs.skills.reader import Matrix, Skills


@dataclass(frozen=True)
class BankFacts:
    """Per column of the bank. `share` is the share of texts (of all classes) in which the unit fires at a token,
    `peak` its largest activation, and `std` that of a neuron's activation over the sampled tokens, the same for both
    poles; NaN for other units."""

    bank: Bank
    share: Float64[np.ndarray, " column"]
    peak: Float64[np.ndarray, " column"]
    std: Float64[np.ndarray, " column"]

    @property
    def alive(self) -> Bool[np.ndarray, " column"]:
        """Units that fire in at least one text."""
        return (self.share > 0) & (self.peak > 0)


def bank_facts(skills: Skills, bank: Bank) -> BankFacts:
    """From the texts of half `find` only."""
    find = (skills.texts["half"] == "find").to_numpy()
    stats = skills.stats(bank)
    peak = stats.peak[find]
    return BankFacts(bank, _share(peak, stats.threshold), _peak(peak), _std(skills, bank, find))


def _share(peak: Matrix, threshold: np.ndarray) -> np.ndarray:
    if isinstance(peak, np.ndarray):
        return np.asarray((peak > threshold).mean(axis=0), np.float64)
    over = sp.csr_array((peak.data > threshold[peak.indices], peak.indices, peak.indptr), shape=peak.shape)
    return np.asarray(over.sum(axis=0) / max(1, peak.shape[0]), np.float64)


def _peak(peak: Matrix) -> np.ndarray:
    largest = peak.max(axis=0)
    return np.asarray(largest if isinstance(peak, np.ndarray) else largest.toarray(), np.float64).reshape(-1)


def _std(skills: Skills, bank: Bank, find: np.ndarray) -> np.ndarray:
    if bank.source != NEURONS:
        return np.full(bank.width, np.nan)
    acts = skills.sampled_acts(bank)[find[skills.sample.text]].astype(np.float64)
    signed = acts[:, : bank.n_units] - acts[:, bank.n_units :]
    return np.tile(signed.std(axis=0), 2)
