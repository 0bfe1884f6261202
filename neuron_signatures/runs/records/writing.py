"""Writes the files of `records/`: the corpus, all neurons, the chosen neurons. Each stage record is its last file.

Arrays may be memory-mapped and larger than memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.arrays import nbytes, write_arrays
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.records.names import (
    CORPUS,
    CORPUS_META,
    DOCUMENTS,
    HISTOGRAMS,
    MOMENTS,
    NEURONS,
    RECORDS_META,
    ROWS,
    SAMPLE,
    SAMPLE_META,
    STRONGEST,
    VOCABULARY,
)
from neuron_signatures.runs.results import ResultsWriter

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class CorpusArrays:
    """`corpus.safetensors`. All axes are `window` except that of `tokens`."""

    tokens: np.ndarray
    window_start: np.ndarray
    window_length: np.ndarray
    window_counted_from: np.ndarray
    window_document: np.ndarray


@dataclass(frozen=True)
class StrongestArrays:
    """`strongest.safetensors`; axes `layer neuron part pole rank`. `window` is -1 where there is no entry."""

    value: np.ndarray
    window: np.ndarray
    pos: np.ndarray


@dataclass(frozen=True)
class MomentArrays:
    """`moments.safetensors`; axes `layer neuron part`. `m2` to `m4` are central moments (averages)."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray


@dataclass(frozen=True)
class HistogramArrays:
    """`histograms.safetensors`: magnitudes of the bins' edges from 0, and counts `layer neuron part bin`."""

    edges: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class SampleArrays:
    """`sample.safetensors`: the neurons, the sampled windows, where each starts in `acts`, and `acts`, `neuron pos`."""

    neurons: np.ndarray
    windows: np.ndarray
    starts: np.ndarray
    acts: np.ndarray


@dataclass(frozen=True)
class RowArrays:
    """`rows.safetensors`: the neurons, the first row of each, and per row its window and where it starts in `acts`."""

    neurons: np.ndarray
    first_row: np.ndarray
    window: np.ndarray
    start: np.ndarray
    acts: np.ndarray


_DTYPES = {
    CorpusArrays: ("i4", "i8", "i4", "i4", "i4"),
    StrongestArrays: ("f4", "i4", "i2"),
    MomentArrays: ("i8", "f8", "f8", "f8", "f8"),
    HistogramArrays: ("f4", "u4"),
    SampleArrays: ("i4", "i4", "i8", "f4"),
    RowArrays: ("i4", "i8", "i4", "i8", "f4"),
}
_Arrays = CorpusArrays | StrongestArrays | MomentArrays | HistogramArrays | SampleArrays | RowArrays


def write_corpus(
    writer: ResultsWriter, arrays: CorpusArrays, documents: pd.DataFrame, vocabulary: pd.DataFrame, meta: CorpusMeta
) -> None:
    """Write a corpus that fits into memory; records of an earlier corpus become invalid."""
    writer.begin(CORPUS_META, companions=(RECORDS_META, SAMPLE_META))
    _write(writer, CORPUS, arrays)
    _write_table(writer, DOCUMENTS, documents)
    _write_table(writer, VOCABULARY, vocabulary)
    writer.record(CORPUS_META, meta.fields())


def write_all_neurons(
    writer: ResultsWriter,
    strongest: StrongestArrays,
    moments: MomentArrays,
    histograms: HistogramArrays,
    neurons: pd.DataFrame,
    meta: RecordsMeta,
) -> None:
    """Write the result of pass 1. An earlier result of pass 2 becomes invalid: its record is removed."""
    writer.begin(RECORDS_META, companions=(SAMPLE_META,))
    _write(writer, STRONGEST, strongest)
    _write(writer, MOMENTS, moments)
    _write(writer, HISTOGRAMS, histograms)
    _write_table(writer, NEURONS, neurons)
    writer.record(RECORDS_META, meta.fields())


def write_chosen(writer: ResultsWriter, sample: SampleArrays, rows: RowArrays, meta: SampleMeta) -> None:
    """Write the result of pass 2."""
    writer.begin(SAMPLE_META)
    _write(writer, SAMPLE, sample)
    _write(writer, ROWS, rows)
    writer.record(SAMPLE_META, meta.fields())


def _write(writer: ResultsWriter, name: str, arrays: _Arrays) -> None:
    kinds = dict(zip(vars(arrays), _DTYPES[type(arrays)], strict=True))
    found: Mapping[str, np.ndarray] = vars(arrays)
    for key, kind in kinds.items():
        assert found[key].dtype == np.dtype(kind), f"{name}: {key} is {found[key].dtype}, not {kind}"
    with writer.file(name, needed=nbytes(found)) as f:
        write_arrays(f, found)


def _write_table(writer: ResultsWriter, stem: str, frame: pd.DataFrame) -> None:
    """Parquet only: no spreadsheet needs these."""
    writer.table(stem, frame, csv=False)
