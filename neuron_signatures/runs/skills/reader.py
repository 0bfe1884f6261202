"""Reads what `collect` wrote: the texts, and of every bank what its units do in each text and at a sample of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]
from jaxtyping import Float, Int

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.columns import TEXTS as TEXT_COLUMNS
from neuron_signatures.runs.skills.meta import AGAIN, CollectMeta, read_meta
from neuron_signatures.runs.skills.names import SAMPLE, SKILLS, TEXTS, part_name
from neuron_signatures.runs.tables import read_table_file

if TYPE_CHECKING:
    import pandas as pd

Matrix: TypeAlias = np.ndarray | sp.csr_array
"""Sparse for features, dense for neurons and directions; never negative."""


@dataclass(frozen=True)
class UnitStats:
    """What the units of a bank do in each text, over the positions that count. Axes are texts and columns of the bank.

    `total` is the sum of the activations, `peak` the largest one (0 if none is above 0), `topk` the number of tokens at
    which the unit is among the k strongest of its bank. `threshold` is what an activation must exceed to count as
    firing: 0 for features, the unit's own quantile for others.
    """

    bank: Bank
    total: Matrix
    peak: Matrix
    topk: sp.csr_array
    threshold: Float[np.ndarray, " unit"]
    n_tokens: Int[np.ndarray, " text"]

    @property
    def mean(self) -> Matrix:
        """Mean activation over the tokens of each text."""
        per_token = 1.0 / np.maximum(self.n_tokens, 1)
        if isinstance(self.total, np.ndarray):
            means: np.ndarray = self.total * per_token[:, None]
            return means
        return sp.csr_array(self.total.multiply(per_token[:, None]))


@dataclass(frozen=True)
class TokenSample:
    """A uniform sample of the tokens that count: the number of their text, their position and id."""

    text: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    token_id: Int[np.ndarray, " token"]


class Skills:
    """The collected texts and units of a run.

        with Skills.open(run_dir) as skills:
            stats = skills.stats(skills.banks[0])

    One bank is in memory at a time. Raises `UsageError` if nothing was collected, `BadRunError` for damaged files.
    """

    def __init__(self, run_dir: Path, meta: CollectMeta, texts: pd.DataFrame, parts: Sequence[ArrayFile]) -> None:
        self.run_dir = run_dir
        self.meta = meta
        self.texts = texts
        self.banks: tuple[Bank, ...] = tuple(record.bank for record in meta.banks)
        self._parts = parts
        self._sample: ArrayFile | None = None

    @classmethod
    def open(cls, run_dir: Path) -> Skills:
        """Raises `UsageError` if nothing was collected."""
        meta = read_meta(run_dir, "collect", CollectMeta)
        texts = read_table_file(inside(run_dir, f"{SKILLS}/{TEXTS}.parquet"))
        if list(texts.columns) != list(TEXT_COLUMNS) or len(texts) != meta.n_texts:
            what = f"has {len(texts)} texts and the columns {', '.join(texts.columns)}"
            raise BadRunError(what[:200], where=f"{run_dir}/{SKILLS}/{TEXTS}.parquet", next_step=AGAIN)
        parts: list[ArrayFile] = []
        try:
            for number in range(1, meta.n_parts + 1):
                parts.append(ArrayFile(inside(run_dir, f"{SKILLS}/{part_name(number)}")))
        except BaseException:
            for part in parts:
                part.close()
            raise
        return cls(run_dir, meta, texts, parts)

    def __enter__(self) -> Skills:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in (*self._parts, *([self._sample] if self._sample else [])):
            file.close()

    def bank(self, source: str, site: str, layer: int) -> Bank:
        """Raises `UsageError` if it was not collected."""
        for bank in self.banks:
            if (bank.source, bank.site, bank.layer) == (source, site, layer):
                return bank
        raise UsageError(f"{source} {site} of layer {layer} was not collected", where=str(self.run_dir / SKILLS))

    def stats(self, bank: Bank) -> UnitStats:
        """What the units of a bank do in each text."""
        n_tokens = self.texts["n_tokens"].to_numpy()
        read = self._dense if bank.signed else self._sparse
        return UnitStats(
            bank, read(bank, "total"), read(bank, "peak"), self._sparse(bank, "topk"),
            self.sample_file.read(f"{bank.key}.threshold"), n_tokens,
        )  # fmt: skip

    @property
    def sample(self) -> TokenSample:
        """Which tokens are in the sample."""
        file = self.sample_file
        return TokenSample(file.read("text"), file.read("position"), file.read("token_id"))

    def sampled_acts(self, bank: Bank) -> Matrix:
        """Activations at the tokens of the sample, `[token, column of the bank]`, never negative, from float16."""
        file = self.sample_file
        if not bank.signed:
            return _csr([(file, f"{bank.key}.")], "values", bank)
        acts = file.read(f"{bank.key}.acts").astype(np.float32)
        poles: np.ndarray = np.concatenate([np.maximum(acts, 0), np.maximum(-acts, 0)], axis=1)
        return poles

    @property
    def sample_file(self) -> ArrayFile:
        if self._sample is None:
            self._sample = ArrayFile(inside(self.run_dir, f"{SKILLS}/{SAMPLE}"))
        return self._sample

    def _dense(self, bank: Bank, what: str) -> np.ndarray:
        return np.concatenate([part.read(f"{bank.key}.{what}") for part in self._parts])

    def _sparse(self, bank: Bank, what: str) -> sp.csr_array:
        return _csr([(part, f"{bank.key}.{what}.") for part in self._parts], "values", bank)


def sparse_arrays(prefix: str, matrix: sp.csr_array) -> dict[str, np.ndarray]:
    """The three arrays by which a matrix is stored; columns ascend within each row."""
    matrix.sort_indices()
    return csr_arrays(prefix, matrix.indptr, matrix.indices, matrix.data)


def csr_arrays(prefix: str, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """As `sparse_arrays`, from the arrays of a matrix whose columns ascend within each row."""
    return {
        f"{prefix}indptr": indptr.astype(np.int64, copy=False),
        f"{prefix}indices": indices.astype(np.int32, copy=False),
        f"{prefix}values": values,
    }


def _csr(files: Sequence[tuple[ArrayFile, str]], values: str, bank: Bank) -> sp.csr_array:
    """The rows of several files, one after the other. Raises `BadRunError` for arrays that are no matrix."""
    blocks = []
    for file, prefix in files:
        arrays = {name: file.read(f"{prefix}{name}") for name in ("indptr", "indices", values)}
        fault = _fault(arrays["indptr"], arrays["indices"], arrays[values], bank.width)
        if fault:
            raise BadRunError(f"{prefix}* {fault}", where=str(file.path), next_step=AGAIN)
        shape = (len(arrays["indptr"]) - 1, bank.width)
        data = arrays[values]
        data = data.astype(np.float32) if data.dtype == np.float16 else data
        blocks.append(sp.csr_array((data, arrays["indices"], arrays["indptr"]), shape=shape))
    return sp.csr_array(sp.vstack(blocks, format="csr")) if len(blocks) > 1 else blocks[0]


def _fault(indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, width: int) -> str:
    if indptr.ndim != 1 or not len(indptr) or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        return "has rows that do not ascend from 0"
    if indptr[-1] != len(indices) or len(indices) != len(values):
        return f"has {len(indices)} columns and {len(values)} values, its rows end at {indptr[-1]}"
    if len(indices) and (indices.min() < 0 or indices.max() >= width):
        return f"has a column outside 0..{width - 1}"
    return ""


def text_groups(texts: pd.DataFrame, by: Sequence[str]) -> Mapping[Any, Int[np.ndarray, " text"]]:
    """Numbers of the texts of each group, ordered by name: a text for one column, a tuple for several."""
    columns: Any = by[0] if len(by) == 1 else list(by)
    return {key: np.asarray(rows) for key, rows in sorted(texts.groupby(columns, sort=True).indices.items())}
