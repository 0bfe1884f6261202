"""The texts of a run and their rows: its current explanations, and the strongest windows of each pole.

Windows are those of the part `explain`, as everywhere that something is shown to be described. A text is stored once,
whoever shares it. Ids are in random order, so that the first texts with a word are a random sample of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Int64

from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Row
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.records.layer_lists import layer_lists
from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import meta_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.rows import Columns, Rows, joined, no_rows, sorted_rows, types_of
from neuron_signatures.runs.search.texts import RECORDS_SOURCE, explanation_columns, is_searched
from neuron_signatures.runs.search.words import word_at, word_key
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.search.request import IndexRequest

_SEED: Final = 0


@dataclass(frozen=True)
class Explained:
    """The current explanations, and how far each log was read."""

    rows: list[Row]
    ends: dict[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """By set, also those without a current one."""
        counts = dict.fromkeys(self.ends, 0)
        for row in self.rows:
            counts[row.set] += 1
        return counts


@dataclass(frozen=True, eq=False)
class Collected:
    """What is to be indexed. `exemplars` lack the ids of their texts and the places of their peaks until
    `texts` was read to its end."""

    explained: Explained
    explanation_texts: list[str]
    """Each once."""
    exemplars: Rows
    windows: Int64[np.ndarray, " window"]
    """Numbers of the windows of the exemplars, each once."""
    ids: Int64[np.ndarray, " text"]
    """The id of each text: of explanations, then of windows."""
    layers: list[int] | None
    """None: all."""
    sources: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def n_texts(self) -> int:
        return len(self.ids)

    @property
    def sets(self) -> list[str]:
        return sorted({row.set for row in self.explained.rows})

    @property
    def explainers(self) -> list[str]:
        return sorted({row.explainer for row in self.explained.rows})

    def explanations(self) -> Rows:
        """With the ids of their texts."""
        id_of = dict(zip(self.explanation_texts, self.ids.tolist(), strict=False))
        rows = self.explained.rows
        columns = explanation_columns(rows, [id_of[row.text] for row in rows], self.sets, self.explainers)
        return sorted_rows(Rows("explanation", columns))

    def texts(self, records: Records | None) -> Iterator[tuple[int, str]]:
        """Every text with its id; fills the columns of the exemplars as it goes."""
        n = len(self.explanation_texts)
        yield from zip(self.ids[:n].tolist(), self.explanation_texts, strict=True)
        if records is not None:
            yield from self._window_texts(records, self.ids[n:].tolist())

    def _window_texts(self, records: Records, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        columns = self.exemplars.columns
        by_window = np.argsort(columns["window"], kind="stable")
        starts = np.searchsorted(columns["window"][by_window], self.windows)
        ends = [*starts[1:].tolist(), len(by_window)]
        for window, id_, first, last in zip(self.windows.tolist(), ids, starts.tolist(), ends, strict=True):
            tokens = [encodable(token) for token in records.corpus.strings(records.corpus.token_ids(window))]
            text = "".join(tokens)
            at = [0, *itertools.accumulate(map(len, tokens))]
            words: dict[int, int] = {}
            for row in by_window[first:last].tolist():
                pos = int(columns["start"][row])
                if pos not in words:
                    word = word_at(text, at[pos], at[pos + 1])
                    words[pos] = word_key(word) if word else 0
                columns["text"][row], columns["word"][row] = id_, words[pos]
                columns["start"][row], columns["stop"][row] = at[pos], at[pos + 1]
            yield id_, text


def collect(run: Run, records: Records | None, request: IndexRequest) -> Collected:
    """What a request indexes. Raises `BadRunError` for damaged files."""
    layers = None if request.layers is None else parse_layers(request.layers, run.manifest.n_layers)
    explained = _explained(run, layers) if "explanation" in request.kinds else Explained([], {})
    exemplars = no_rows("exemplar")
    warnings = []
    if "exemplar" in request.kinds and records is None:
        warnings.append("the run has no records, so it has no exemplars")
    elif records is not None:
        exemplars = _exemplars(records, layers, request.exemplars)
    if "explanation" in request.kinds and not explained.rows:
        warnings.append("the run has no explanations")
    texts, windows = list(dict.fromkeys(row.text for row in explained.rows)), np.unique(exemplars.columns["window"])
    ids = np.random.default_rng(_SEED).permutation(len(texts) + len(windows))
    sources = tuple(f"{EXPLANATIONS}/{meta_name(name)}" for name in explained.ends)
    if records is not None:
        sources += (RECORDS_SOURCE,)
    return Collected(explained, texts, exemplars, windows, ids, layers, sources, tuple(warnings))


def _explained(run: Run, layers: Sequence[int] | None) -> Explained:
    found = Explanations.open(run)
    rows = [row for row in found.rows() if is_searched(row) and (layers is None or row.at.layer in layers)]
    return Explained(rows, found.ends)


def _exemplars(records: Records, layers: Sequence[int] | None, n: int) -> Rows:
    """The strongest windows of each pole; `start` is the position of the peak for now."""
    chosen = [layer for layer in records.layers if layers is None or layer in layers]
    return sorted_rows(joined("exemplar", [_of_layer(records, layer, n) for layer in chosen]))


def _of_layer(records: Records, layer: int, n: int) -> Columns:
    lists = layer_lists(records, layer, "explain", n_windows=n)
    neuron, pole, rank = np.nonzero(lists.strong)
    blank = np.zeros(len(neuron), np.int64)
    assert len(POLES) == lists.strong.shape[1]
    values = {
        "text": blank, "layer": blank + layer, "neuron": neuron, "pole": pole, "rank": rank + 1,
        "window": lists.window[neuron, pole, rank], "start": lists.pos[neuron, pole, rank], "stop": blank,
        "value": lists.value[neuron, pole, rank], "word": blank,
    }  # fmt: skip
    return {name: values[name].astype(dtype) for name, dtype in types_of("exemplar").items()}
