"""Writes the files of `records/`: the corpus, all neurons, the chosen neurons. Each stage record is its last file.

Arrays may be memory-mapped and larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.arrays import nbytes, write_arrays
from neuron_signatures.runs.records.corpus_files import (
    CorpusArrays,
    DocumentRow,
    write_corpus_arrays,
    write_documents,
    write_vocabulary,
)
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.records.names import (
    CORPUS_META,
    HISTOGRAMS,
    MOMENTS,
    NEURONS,
    RECORDS_META,
    ROWS,
    SAMPLE,
    SAMPLE_META,
    STRONGEST,
)
from neuron_signatures.runs.results import ResultsWriter

if TYPE_CHECKING:
    import pandas as pd


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
    """`rows.safetensors`: the neurons, the first row of each, and per row its window and where it starts in `acts`.

    `sampled` (imported records only) marks the rows that are a neuron's own sample; `sample.safetensors` then has no
    windows.
    """

    neurons: np.ndarray
    first_row: np.ndarray
    window: np.ndarray
    start: np.ndarray
    acts: np.ndarray
    sampled: np.ndarray | None = None


_DTYPES = {
    StrongestArrays: ("f4", "i4", "i2"),
    MomentArrays: ("i8", "f8", "f8", "f8", "f8"),
    HistogramArrays: ("f4", "u4"),
    SampleArrays: ("i4", "i4", "i8", "f4"),
    RowArrays: ("i4", "i8", "i4", "i8", "f4", "u1"),
}
_Arrays = StrongestArrays | MomentArrays | HistogramArrays | SampleArrays | RowArrays


def write_corpus(
    writer: ResultsWriter,
    arrays: CorpusArrays,
    documents: Iterable[DocumentRow],
    vocabulary: Sequence[str],
    meta: CorpusMeta,
) -> None:
    """Write a corpus; records of an earlier one become invalid. `vocabulary` has the string of each id from 0."""
    writer.begin(CORPUS_META, companions=(RECORDS_META, SAMPLE_META))
    write_corpus_arrays(writer, arrays)
    write_documents(writer, documents)
    write_vocabulary(writer, range(len(vocabulary)), vocabulary)
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
    found: Mapping[str, np.ndarray] = {key: a for key, a in vars(arrays).items() if a is not None}
    for key, array in found.items():
        assert array.dtype == np.dtype(kinds[key]), f"{name}: {key} is {array.dtype}, not {kinds[key]}"
    with writer.file(name, needed=nbytes(found)) as f:
        write_arrays(f, found)


def _write_table(writer: ResultsWriter, stem: str, frame: pd.DataFrame) -> None:
    """Parquet only: no spreadsheet needs these."""
    writer.table(stem, frame, csv=False)
