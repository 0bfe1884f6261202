"""`meanings` from request to files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.corpus_analysis.choice import Choice, choose
from neuron_signatures.corpus_analysis.contexts import Contexts, open_contexts, tokens_around
from neuron_signatures.corpus_analysis.meanings.groups import Measures, group_windows, measure
from neuron_signatures.corpus_analysis.meanings.null import Nulls, Pool, threshold_of
from neuron_signatures.corpus_analysis.meanings.request import HELD_OUT, PART, POOL, QUANTILE, MeaningsRequest
from neuron_signatures.corpus_analysis.meanings.summary import SEVERAL, MeaningsSummary
from neuron_signatures.corpus_analysis.meanings.tables import ListOf, Rows
from neuron_signatures.corpus_analysis.meanings.tokens import token_shares
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, MEANING_GROUPS, MEANINGS
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.layer_lists import LayerLists, layer_lists
from neuron_signatures.runs.records.names import POLES, RECORDS, RECORDS_META, Part, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the lists of all neurons share."""

    request: MeaningsRequest
    records: Records
    contexts: Contexts
    threshold: float
    nulls: Nulls


def find_meanings(request: MeaningsRequest, progress: ProgressOf) -> MeaningsSummary:
    """Carry out a command. Raises `UsageError` for neurons without records."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        choice = choose(run, records, request.choice)
        with open_folder(run, CORPUS_ANALYSIS_FOLDER, "meanings") as writer:
            prepared = prepare(request, records)
            rows = Rows(records.corpus, token_shares(records.corpus, PART))
            with progress("neurons", len(choice.chosen)) as bar:
                for layer, neurons in by_layer(choice):
                    of_layer = LayerContexts.read(prepared, layer)
                    for neuron in neurons:
                        for pole in request.poles:
                            of_layer.add_rows(rows, neuron, pole)
                        bar.advance(1)
            tables = rows.tables()
            for stem, table in tables.items():
                writer.table(stem, table)
            facts = _facts(request, choice, tables[MEANINGS]) | {"threshold": prepared.threshold}
            writer.finish(
                settings={**request.settings(), "neurons": choice.by}, facts=facts,
                sources=[f"{RECORDS}/{RECORDS_META}"],
            )  # fmt: skip
    return MeaningsSummary(str(request.run_dir), tables[MEANINGS], tables[MEANING_GROUPS], facts)


def prepare(request: MeaningsRequest, records: Records) -> Prepared:
    """Embed the windows of random neurons, which give the threshold and the null."""
    contexts = open_contexts(records.corpus, request.contexts, device=request.device)
    pools = {pole: _pool(request, records, contexts, pole) for pole in request.poles}
    threshold = threshold_of(contexts, list(pools.values()), QUANTILE)
    nulls = Nulls(contexts, pools, threshold, n_draws=request.n_null, seed=request.seed)
    return Prepared(request, records, contexts, threshold, nulls)


def by_layer(choice: Choice) -> Iterator[tuple[int, list[int]]]:
    """Each layer with its chosen neurons."""
    for layer in np.unique(choice.chosen[:, 0]).tolist():
        yield layer, choice.chosen[choice.chosen[:, 0] == layer, 1].tolist()


@dataclass(frozen=True, eq=False)
class LayerContexts:
    """The lists of a layer in both parts."""

    prepared: Prepared
    layer: int
    lists: LayerLists
    held_out: LayerLists

    @staticmethod
    def read(prepared: Prepared, layer: int) -> LayerContexts:
        def of(part: Part) -> LayerLists:
            return layer_lists(prepared.records, layer, part, n_windows=prepared.request.n_windows)

        return LayerContexts(prepared, layer, of(PART), of(HELD_OUT))

    def add_rows(self, rows: Rows, neuron: int, pole: Pole) -> None:
        """The rows of one list."""
        request = self.prepared.request
        at = neuron, POLES.index(pole)
        strong = np.flatnonzero(self.lists.strong[at])
        if len(strong) < request.min_windows:
            rows.add_short(self.layer, neuron, pole, len(strong))
            return
        window, pos = self.lists.window[at][strong], self.lists.pos[at][strong]
        distances = self._distances(window, pos)
        group = group_windows(distances, self.prepared.threshold)
        settings = request.contexts
        around = tokens_around(self.prepared.records.corpus, window, pos, before=settings.before, after=settings.after)
        own = ListOf(self.layer, neuron, pole, strong + 1, window, pos, around, distances, group)
        null = self.prepared.nulls.of(pole, len(strong))
        rows.add(own, measure(distances, group), null, self._held_out(neuron, pole))

    def _held_out(self, neuron: int, pole: Pole) -> Measures | None:
        """The same measures of the part select; None with too few windows."""
        at = neuron, POLES.index(pole)
        strong = self.held_out.strong[at]
        if strong.sum() < self.prepared.request.min_windows:
            return None
        distances = self._distances(self.held_out.window[at][strong], self.held_out.pos[at][strong])
        return measure(distances, group_windows(distances, self.prepared.threshold))

    def _distances(self, window: np.ndarray, pos: np.ndarray) -> np.ndarray:
        embedded = self.prepared.contexts.embed(window, pos)
        found: np.ndarray = self.prepared.contexts.distances(embedded, embedded)
        np.fill_diagonal(found, 0)
        return found


def _pool(request: MeaningsRequest, records: Records, contexts: Contexts, pole: Pole) -> Pool:
    """One random strong window of each of `POOL` random recorded neurons (drawn with replacement)."""
    rng = np.random.default_rng([request.seed, POLES.index(pole), 17])
    drawn = rng.integers(len(records.layers) * records.d_mlp, size=POOL)
    window, pos = [], []
    for row, layer in enumerate(records.layers):
        own = drawn[drawn // records.d_mlp == row] % records.d_mlp
        if not len(own):
            continue
        lists = layer_lists(records, layer, PART, n_windows=request.n_windows)
        axis = POLES.index(pole)
        for neuron in own.tolist():
            strong = np.flatnonzero(lists.strong[neuron, axis])
            if len(strong) >= request.min_windows:
                rank = int(rng.choice(strong))
                window.append(int(lists.window[neuron, axis, rank]))
                pos.append(int(lists.pos[neuron, axis, rank]))
    at = np.array(window, np.int64)
    return Pool(at, contexts.embed(at, np.array(pos, np.int64)))


def _facts(request: MeaningsRequest, choice: Choice, table: pd.DataFrame) -> dict[str, Any]:
    measured = table[table["effective_number"].notna()]
    found = measured[measured["q"] <= 0.05]
    fewer = found[found["statistic"] < found["null_mean"]]

    def median(name: str) -> float | None:
        values = measured[name].dropna()
        return float(values.median()) if len(values) else None

    return {
        "n_neurons": len(choice.chosen), "n_lists": len(table), "n_measured": len(measured),
        "min_windows": request.min_windows, "median_effective_number": median("effective_number"),
        "median_statistic": median("statistic"), "null_mean": median("null_mean"), "null_sd": median("null_sd"),
        "null_effective_number": median("null_effective_number"), "n_fewer": len(fewer),
        "n_more": len(found) - len(fewer), "n_several": int((fewer["effective_number"] >= SEVERAL).sum()),
    }  # fmt: skip
