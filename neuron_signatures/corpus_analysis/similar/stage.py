"""`similar` from request to files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.corpus_analysis.activations import (
    CachedSource,
    ModelSource,
    Source,
    recorded_scale,
    stored_source,
)
from neuron_signatures.corpus_analysis.choice import Choice, Pairs, choose
from neuron_signatures.corpus_analysis.passes import choose_windows, open_pass, plan_of_records
from neuron_signatures.corpus_analysis.similar import correlate, windows
from neuron_signatures.corpus_analysis.similar.intervals import correlation_intervals
from neuron_signatures.corpus_analysis.similar.ranked import Ranked, ranked_rows, strongest_columns
from neuron_signatures.corpus_analysis.similar.request import SimilarRequest
from neuron_signatures.corpus_analysis.similar.summary import SimilarSummary
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, SIMILAR
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.names import PARTS, POLES, RECORDS, RECORDS_META
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder

PART = PARTS[0]
_HIGH = 95.0
_ROWS = 256


@dataclass(frozen=True, eq=False)
class _Command:
    request: SimilarRequest
    run: Run
    records: Records
    choice: Choice
    progress: ProgressOf

    @property
    def candidates(self) -> Pairs:
        """The neurons among which similar ones are looked for."""
        recorded = self.choice.recorded
        if self.request.candidates == "all":
            return recorded
        return np.array([at for at in recorded.tolist() if self.records.sampled(*at)], np.int64).reshape(-1, 2)


def find_similar(request: SimilarRequest, progress: ProgressOf) -> SimilarSummary:
    """Carry out a command. Raises `UsageError` for neurons without records, or without a sample where one is needed."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        command = _Command(request, run, records, choose(run, records, request.choice), progress)
        check(command)
        with open_folder(run, CORPUS_ANALYSIS_FOLDER, "similar") as writer:
            tables: list[pd.DataFrame] = []
            facts: dict[str, Any] = {}
            if "activation" in request.kinds:
                table, facts["activation"] = _by_activation(command)
                tables.append(table)
            if "windows" in request.kinds:
                table, facts["windows"] = _by_windows(command)
                tables.append(table)
            found = pd.concat(tables, ignore_index=True)
            writer.table(SIMILAR, found)
            facts |= {"n_neurons": len(command.choice.chosen), "n_candidates": len(command.candidates)}
            writer.finish(
                settings={**request.settings(), "neurons": command.choice.by}, facts=facts,
                sources=[f"{RECORDS}/{RECORDS_META}"],
            )  # fmt: skip
    return SimilarSummary(str(request.run_dir), found, facts)


def check(command: _Command) -> None:
    """Refuse what cannot be computed, before an earlier result is removed."""
    request, records = command.request, command.records
    if len(command.candidates) < 2:
        what = "there are no other neurons to compare with"
        step = "Use --candidates all, or keep activations of more neurons (poc4_extract_records --neurons)"
        raise UsageError(what, where=str(request.run_dir), next_step=step)
    if request.candidates == "sampled":
        missing = next((at for at in command.choice.chosen.tolist() if not records.sampled(*at)), None)
        if missing is not None:
            what = f"L{missing[0]}N{missing[1]} is not in the stored sample"
            raise UsageError(what, where="--candidates sampled", next_step="Leave it away: the model is run then")
    elif "activation" in request.kinds:
        plan_of_records(command.run, records, request.overrides)


@contextlib.contextmanager
def _source(command: _Command) -> Iterator[Source]:
    request, records = command.request, command.records
    if request.candidates == "sampled":
        yield stored_source(records, command.candidates)
        return
    layers = np.unique(command.choice.recorded[:, 0]).tolist()
    chosen = choose_windows(records.corpus, (PART,), n_tokens=request.sample_tokens, seed=request.seed)
    n_tokens = int(records.corpus.window_length[chosen].sum())
    with (
        open_pass(command.run, records, request.overrides, layers=layers, batch_size=request.batch_size) as corpus_pass,
        command.progress("tokens", n_tokens) as bar,
    ):
        yield CachedSource(ModelSource(corpus_pass, chosen, bar), request.cache_bytes)


def _by_activation(command: _Command) -> tuple[pd.DataFrame, dict[str, Any]]:
    request, records = command.request, command.records
    with _source(command) as source:
        place = {tuple(at): i for i, at in enumerate(source.neurons.tolist())}
        columns = np.array([place[tuple(at)] for at in command.choice.chosen.tolist()], np.int64)
        scale = recorded_scale(records, source.neurons)
        with_null = _with_null(len(columns), request)
        stream = correlate.read_stream(source, scale, columns[with_null])
        found = Ranked.empty()
        for part, r in correlate.correlation_rows(source, scale, stream, columns):
            for start in range(0, len(r), _ROWS):
                some = strongest_columns(r[start : start + _ROWS], request.n_similar, signed=True)
                found = found.joined(some, first_row=part.start + start)
        pairs = np.stack([columns[found.row], found.column], axis=1)
        document = records.corpus.window_document.astype(np.int64)
        interval = correlation_intervals(source, scale, stream, pairs, found.value, document)
        null = correlate.null_best(
            source, scale, stream, columns[with_null], n_draws=request.n_draws, seed=request.seed
        )
        neurons = source.neurons
    high = np.full(len(columns), np.nan)
    high[with_null] = _percentile(null)
    table = ranked_rows(
        "activation", found, command.choice.chosen, neurons, null_high=high, n=np.full(len(columns), stream.n),
        low=interval.low, high=interval.high,
    )  # fmt: skip
    facts = {
        "n_tokens": stream.n, "n_windows": len(np.unique(stream.windows)),
        "n_constant": int((stream.variance <= 1e-10).sum()), **_null_facts(null),
    }  # fmt: skip
    return table, facts


def _by_windows(command: _Command) -> tuple[pd.DataFrame, dict[str, Any]]:
    request, records, candidates = command.request, command.records, command.candidates
    layers = np.unique(candidates[:, 0]).tolist()
    corpus = records.corpus
    n_windows = int((corpus.document_part[corpus.window_document] == PARTS.index(PART)).sum())
    length = request.list_length or windows.list_length(n_windows, records.meta.top_k)
    every = records.strongest_lists(layers, PART).window[:, :, :length]
    row_of = {layer: i * records.d_mlp for i, layer in enumerate(layers)}
    of_candidates = every[[row_of[layer] + neuron for layer, neuron in candidates.tolist()]]
    index = windows.WindowIndex(of_candidates.reshape(-1, of_candidates.shape[2]), corpus.n_windows)
    place = {tuple(at): i for i, at in enumerate(candidates.tolist())}
    own = np.array([place[tuple(at)] for at in command.choice.chosen.tolist()], np.int64)
    poles = (2 * own[:, None] + np.arange(2)).reshape(-1)  # lists are in the order neuron, pole
    both = np.repeat(np.stack([2 * own, 2 * own + 1], axis=1), 2, axis=0)
    lists = of_candidates.reshape(-1, of_candidates.shape[2])[poles]
    found = Ranked.empty()
    for part, jaccard in index.jaccard(lists):
        jaccard[np.arange(len(jaccard))[:, None], both[part]] = np.nan
        jaccard[index.lengths[poles[part]] == 0] = np.nan
        found = found.joined(strongest_columns(jaccard, request.n_similar, signed=False), first_row=part.start)
    with_null = (2 * _with_null(len(own), request)[:, None] + np.arange(2)).reshape(-1)
    null = windows.null_best(index, lists[with_null], both[with_null], n_draws=request.n_draws, seed=request.seed)
    high = np.full(len(poles), np.nan)
    high[with_null] = _percentile(null)
    table = ranked_rows(
        "windows", found, np.repeat(command.choice.chosen, 2, axis=0), np.repeat(candidates, 2, axis=0),
        null_high=high, n=index.lengths[poles], pole=np.tile(POLES, len(own)),
        other_pole=np.tile(POLES, len(candidates)),
    )  # fmt: skip
    return table, {"list_length": length, "n_windows": n_windows, **_null_facts(null)}


def _with_null(n: int, request: SimilarRequest) -> np.ndarray:
    """Places of the chosen neurons that have a null: all, or a random sample."""
    if n <= request.null_neurons:
        return np.arange(n)
    return np.sort(np.random.default_rng([request.seed, 1]).choice(n, request.null_neurons, replace=False))


def _percentile(null: np.ndarray) -> np.ndarray:
    """Of the draws of each column; NaN where they are undefined."""
    defined = ~np.isnan(null).any(axis=0)
    found = np.full(null.shape[1], np.nan)
    if defined.any() and len(null):
        found[defined] = np.percentile(null[:, defined], _HIGH, axis=0)
    return found


def _null_facts(null: np.ndarray) -> dict[str, Any]:
    """The null over neurons: mean, spread and 95th percentile of the best value of a draw."""
    values = null[~np.isnan(null)]
    if not len(values):
        return {"null_neurons": 0, "null_mean": None, "null_sd": None, "null_high": None, "n_draws": len(null)}
    return {
        "null_neurons": null.shape[1], "null_mean": float(values.mean()), "null_sd": float(values.std()),
        "null_high": float(np.percentile(values, _HIGH)), "n_draws": len(null),
    }  # fmt: skip
