"""Imports records of other tools into a new run: their texts as a corpus, their neurons as lists and rows.

Texts have no document ids, so each distinct text is a document of its own, by default in part explain. Moments are
those of the files, over all parts, and stored under explain; their count, which the files do not have, is the number of
imported values of the neuron.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.records.exchange.neuron_record import ActivationRecord, read_record, record_files
from neuron_signatures.records.exchange.neuronpedia import Activation, read_activations
from neuron_signatures.records.exchange.options import ImportOptions, ImportSummary
from neuron_signatures.records.exchange.spool import Spool
from neuron_signatures.records.exchange.texts import Texts
from neuron_signatures.records.exchange.write_run import write_imported
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import PARTS

OFTEN = 5
"""Tokens at peaks that are named in the table."""


class Moments(NamedTuple):
    """Of one neuron, as its file gives them. None where unknown."""

    mean: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None


class Given(NamedTuple):
    """One neuron of the files."""

    neuron: tuple[int, int]
    moments: Moments
    strongest: list[ActivationRecord]
    sample: list[ActivationRecord]
    n_by_quantile: int
    model_id: str | None


@dataclass(frozen=True)
class ImportedNeuron:
    """What is kept of a neuron in memory; its rows are in the spools."""

    layer: int
    neuron: int
    moments: Moments
    count: int
    values: np.ndarray
    """Of the list of strongest windows, strongest first."""
    windows: np.ndarray
    pos: np.ndarray
    smallest: float
    largest: float
    """The largest absolute value."""
    rate_above: float | None
    often: str
    often_share: float | None


class _Row(NamedTuple):
    acts: np.ndarray
    sampled: bool


class Collected:
    """All imported neurons: their windows, and their rows on disk."""

    def __init__(self, skip_first: int, percent: Sequence[int]) -> None:
        self.texts = Texts(skip_first, percent)
        self.neurons: list[ImportedNeuron] = []
        self.first_row = [0]
        self.row_window, self.row_length, self.sampled = Spool("i4"), Spool("i8"), Spool("u1")
        self.acts = Spool("f4")
        self.n_by_quantile = self.n_too_short = 0
        self.model_id: str | None = None

    def close(self) -> None:
        for spool in (self.row_window, self.row_length, self.sampled, self.acts, self.texts):
            spool.close()

    def add(self, given: Given) -> None:
        """Number the windows of a neuron, keep its list and store its rows."""
        rows: dict[int, _Row] = {}
        self._place(given.sample, rows, sampled=True)
        strongest = self._place(given.strongest, rows, sampled=False)
        peaks = [self._peak(window, rows[window].acts, tokens) for window, tokens in strongest.items()]
        peaks.sort(key=lambda p: (-p[0], p[1]))
        for window in sorted(rows):
            row = rows[window]
            self.row_window.extend([window])
            self.row_length.extend([len(row.acts)])
            self.sampled.extend([row.sampled])
            self.acts.extend(row.acts)
        self.first_row.append(self.row_window.n)
        self.n_by_quantile += given.n_by_quantile
        self.model_id = self.model_id or given.model_id
        self.neurons.append(self._summary(given, rows, peaks))

    def _place(
        self, records: Sequence[ActivationRecord], rows: dict[int, _Row], *, sampled: bool
    ) -> dict[int, tuple[str, ...]]:
        """Give each record a window and a row; returns the tokens by window.

        A text that a neuron has with the same activations in both lists has one row.
        """
        placed: dict[int, tuple[str, ...]] = {}
        for record in records:
            if len(record.tokens) <= self.texts.skip_first:
                self.n_too_short += 1
                continue
            acts, occurrence = np.array(record.activations, np.float32), 0
            window = self.texts.window(record.tokens, occurrence)
            while window in placed or (window in rows and not np.array_equal(rows[window].acts, acts)):
                occurrence += 1
                window = self.texts.window(record.tokens, occurrence)
            placed[window] = tuple(record.tokens)
            rows[window] = _Row(acts, sampled or (window in rows and rows[window].sampled))
        return placed

    def _peak(self, window: int, acts: np.ndarray, tokens: tuple[str, ...]) -> tuple[float, int, int, str]:
        pos = self.texts.skip_first + int(np.argmax(acts[self.texts.skip_first :]))
        return float(acts[pos]), window, pos, tokens[pos]

    def _summary(self, given: Given, rows: dict[int, _Row], peaks: list[tuple[float, int, int, str]]) -> ImportedNeuron:
        skip = self.texts.skip_first
        counted = [r.acts[skip:] for r in rows.values()]
        sample = np.concatenate([np.empty(0, np.float32), *(r.acts[skip:] for r in rows.values() if r.sampled)])
        largest = max((float(np.abs(a).max()) for a in counted), default=0.0)
        windows = np.array([p[1] for p in peaks], np.int32)
        explained = [p for p, part in zip(peaks, self.texts.parts(windows), strict=True) if PARTS[part] == "explain"]
        often = Counter(p[3] for p in explained).most_common(OFTEN)
        return ImportedNeuron(
            *given.neuron, given.moments, sum(map(len, counted)),
            values=np.array([p[0] for p in peaks], np.float32), windows=windows,
            pos=np.array([p[2] for p in peaks], np.int16),
            smallest=min((float(a.min()) for a in counted), default=0.0), largest=largest,
            rate_above=float((np.abs(sample) >= 0.1 * largest).mean()) if len(sample) else None,
            often=json.dumps([token for token, _ in often], ensure_ascii=False),
            often_share=often[0][1] / len(explained) if explained else None,
        )  # fmt: skip


def import_records(options: ImportOptions) -> ImportSummary:
    """Make a new run from a folder of NeuronRecord files or Neuronpedia batches.

    Raises `UsageError` for a damaged or unsuitable file, naming its first wrong field, and for a folder without any, or
    if the new run's folder is not empty.
    """
    read = _neuron_records if options.format == "neuron_record" else _neuronpedia
    return import_neurons(read(options.source), options)


def import_neurons(neurons: Iterable[Given], options: ImportOptions) -> ImportSummary:
    """Make a new run of neurons that ascend by layer and neuron. Raises as `import_records`."""
    if options.run_dir.exists() and (not options.run_dir.is_dir() or any(options.run_dir.iterdir())):
        raise UsageError("is not an empty folder", where=str(options.run_dir), next_step="Choose a new folder")
    if sum(options.parts) != 100 or min(options.parts) < 0:
        raise UsageError(f"parts {options.parts} are not percentages that add up to 100")
    created = options.created_at_utc or datetime.now(UTC).isoformat(timespec="seconds")
    with closing(Collected(options.skip_first, options.parts)) as found:
        for given in _ascending(neurons, options.source):
            found.add(given)
        if not found.texts.n_windows:
            raise UsageError(
                "there are no records here", where=str(options.source),
                next_step="Give the folder that holds neurons/<layer>/<neuron>.json or activations/batch-*.jsonl.gz",
            )  # fmt: skip
        write_imported(found, options, created)
        return ImportSummary(
            options.run_dir, len(found.neurons), found.texts.n_windows, found.row_window.n, found.n_by_quantile,
            found.n_too_short, found.texts.n_by_part(),
        )  # fmt: skip


def _neuron_records(source: Path) -> Iterator[Given]:
    for path in record_files(source):
        r = read_record(path)
        where = (r.neuron_id.layer_index, r.neuron_id.neuron_index)
        if where != (int(path.parent.name), int(path.stem)):
            what = f"field neuron_id: is layer {where[0]}, neuron {where[1]}, not those of the file's name"
            raise UsageError(what, where=str(path), next_step="Fix or remove the file")
        n_by_quantile = sum(map(len, r.random_sample_by_quantile or []))
        moments = Moments(r.mean, r.variance, r.skewness, r.kurtosis)
        yield Given(where, moments, r.most_positive_activation_records, r.random_sample, n_by_quantile, None)


def _neuronpedia(source: Path) -> Iterator[Given]:
    """Lines of one neuron follow each other. Texts by interval become its sample."""
    for neuron, lines in groupby(read_activations(source), key=lambda a: a.neuron):
        activations = list(lines)
        strongest = [_record(a) for a in activations if a.is_strongest]
        sample = [_record(a) for a in activations if not a.is_strongest]
        yield Given(neuron, Moments(), strongest, sample, 0, activations[0].model_id)


def _record(activation: Activation) -> ActivationRecord:
    return ActivationRecord(tokens=activation.tokens, activations=activation.values)


def _ascending(found: Iterable[Given], source: Path) -> Iterator[Given]:
    """The neurons. Raises `UsageError` unless they ascend by layer and neuron, each once."""
    last = (-1, -1)
    for given in found:
        if given.neuron <= last:
            what = f"L{given.neuron[0]}N{given.neuron[1]} comes after L{last[0]}N{last[1]}: neurons must ascend"
            raise UsageError(what, where=str(source), next_step="Sort the files by layer and neuron, each once")
        last = given.neuron
        yield given
