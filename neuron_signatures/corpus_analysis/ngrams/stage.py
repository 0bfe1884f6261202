"""`ngrams` from request to files: one pass over explain and one over select for each group of layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from neuron_signatures.corpus_analysis.choice import NeuronChoice, choose
from neuron_signatures.corpus_analysis.ngrams.clusters import Cluster, ClusterMeans, read_clusters
from neuron_signatures.corpus_analysis.ngrams.index import NgramIndex, make_index
from neuron_signatures.corpus_analysis.ngrams.request import HELD_OUT, PART, NgramsRequest
from neuron_signatures.corpus_analysis.ngrams.strongest import Picks, of_columns, of_ngrams
from neuron_signatures.corpus_analysis.ngrams.summary import NgramsSummary
from neuron_signatures.corpus_analysis.ngrams.sums import Scale, effects
from neuron_signatures.corpus_analysis.passes import choose_windows, open_pass, plan_of_records
from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NGRAMS,
    CORPUS_ANALYSIS_FOLDER,
    NEURON_NGRAMS,
    NGRAM_NEURONS,
    NGRAMS,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.names import CORPUS_ANALYSIS
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.names import PARTS, RECORDS, RECORDS_META, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder, record_name

_SIGNS = {"+": 1, "-": -1}


@dataclass(eq=False)
class _Found:
    """What the groups of layers found so far."""

    index: NgramIndex
    clusters: Sequence[Cluster]
    explain: ClusterMeans
    select: ClusterMeans
    count: np.ndarray
    held_out_count: np.ndarray
    of_ngrams: list[pd.DataFrame] = field(default_factory=list)
    of_neurons: list[pd.DataFrame] = field(default_factory=list)


def index_ngrams(request: NgramsRequest, progress: ProgressOf) -> NgramsSummary:
    """Carry out a command. Raises `UsageError` if no n-gram is frequent enough, or memory is too little for a layer."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        layers = layers_of(run, records, request)
        plan_of_records(run, records, request.overrides)
        index = index_of(request, records)
        groups = layer_groups(request, layers, records.d_mlp, len(index))
        with open_folder(run, CORPUS_ANALYSIS_FOLDER, "ngrams") as writer:
            clusters = read_clusters(run.path)
            nothing = np.zeros(len(index), np.int64)
            found = _Found(index, clusters, ClusterMeans(clusters, len(index)), ClusterMeans(clusters, len(index)),
                           nothing, nothing)  # fmt: skip
            _run_groups(request, run, records, groups, found, progress)
            tables = _tables(request, records, found)
            for stem, table in tables.items():
                writer.table(stem, table)
            facts = _facts(request, records, found, layers, len(groups))
            sources = [f"{RECORDS}/{RECORDS_META}"]
            if clusters:
                sources.append(f"{CORPUS_ANALYSIS}/{record_name('clusters')}")
            writer.finish(settings=request.settings(), facts=facts, sources=sources)
    return NgramsSummary(str(request.run_dir), tables[NGRAMS], tables[NGRAM_NEURONS], facts)


def layers_of(run: Run, records: Records, request: NgramsRequest) -> list[int]:
    """The chosen recorded layers."""
    recorded = choose(run, records, NeuronChoice(every=True, layers=request.layers)).recorded
    return [int(layer) for layer in np.unique(recorded[:, 0])]


def index_of(request: NgramsRequest, records: Records) -> NgramIndex:
    """Raises `UsageError` if no n-gram is frequent enough."""
    index = make_index(records.corpus, PART, min_count=request.min_count, max_ngrams=request.max_ngrams)
    if not len(index):
        what = f"no token of the part {PART} occurs {request.min_count} times"
        raise UsageError(what, where=str(request.run_dir), next_step="Lower --min_count, or use a larger corpus")
    return index


def layer_groups(request: NgramsRequest, layers: Sequence[int], d_mlp: int, n_ngrams: int) -> list[list[int]]:
    """Layers that are done together, so that the sums of a group fit the memory."""
    of_layer = bytes_of(n_ngrams, d_mlp)
    at_once = request.max_memory // of_layer
    if not at_once:
        what = f"the sums of {n_ngrams:,} n-grams over one layer need {human_bytes(of_layer)}"
        step = "Raise it, or lower --max_ngrams"
        raise UsageError(what, where=f"--max_memory {human_bytes(request.max_memory)}", next_step=step)
    n_groups = -(-len(layers) // at_once)
    return [[int(layer) for layer in part] for part in np.array_split(np.array(layers), n_groups)]


def bytes_of(n_ngrams: int, n_neurons: int) -> int:
    """Of the float32 sums of so many n-grams and neurons."""
    return 4 * n_ngrams * n_neurons


def _run_groups(
    request: NgramsRequest, run: Run, records: Records, groups: Sequence[Sequence[int]], found: _Found,
    progress: ProgressOf,
) -> None:  # fmt: skip
    corpus = records.corpus
    windows = {part: choose_windows(corpus, (part,)) for part in (PART, HELD_OUT) if _has(records, part)}
    every = [layer for group in groups for layer in group]
    n_tokens = sum(int(corpus.window_length[own].sum()) for own in windows.values())
    with (
        open_pass(run, records, request.overrides, layers=every, batch_size=request.batch_size) as corpus_pass,
        progress("tokens", n_tokens * len(groups)) as bar,
    ):
        for group in groups:
            scale = Scale.of(records, group)
            own = effects(corpus_pass, windows[PART], found.index, scale, bar)
            found.count = own.count
            found.explain.add(own.effect, group, records.d_mlp)
            by_ngram = of_ngrams(own.effect, request.top)
            by_pole = {
                pole: of_columns(own.effect, found.index, own.count, request.top, sign=sign)
                for pole, sign in _SIGNS.items()
            }
            suffix = _suffix_effects(own.effect, found.index, by_ngram)
            del own
            held_out = None
            if HELD_OUT in windows:
                of_part = effects(corpus_pass, windows[HELD_OUT], found.index, scale, bar)
                found.held_out_count, held_out = of_part.count, of_part.effect
                found.select.add(held_out, group, records.d_mlp)
            found.of_ngrams.append(_rows(by_ngram, scale, held_out).assign(suffix_effect=suffix))
            found.of_neurons += [_rows(picks, scale, held_out).assign(pole=pole) for pole, picks in by_pole.items()]


def _has(records: Records, part: Part) -> bool:
    return bool((records.corpus.document_part == PARTS.index(part)).any())


def _suffix_effects(effect: torch.Tensor, index: NgramIndex, picks: Picks) -> np.ndarray:
    """The effect of the same neuron at the n-gram without its first token; NaN for a single token."""
    at = index.suffix[picks.row]
    value = effect[torch.from_numpy(np.maximum(at, 0)), torch.from_numpy(picks.column)].numpy()
    return np.where(at >= 0, value, np.nan)


def _rows(picks: Picks, scale: Scale, held_out: torch.Tensor | None) -> pd.DataFrame:
    """Picks of n-grams and neurons with all columns but the pole of a list."""
    at = torch.from_numpy(picks.row), torch.from_numpy(picks.column)
    again = held_out[at].numpy() if held_out is not None else np.full(len(picks.row), np.nan)
    effect = picks.effect.astype(np.float64)
    return pd.DataFrame({
        "ngram": picks.row, "rank": picks.rank + 1, "layer": np.array(scale.layers)[picks.column // scale.d_mlp],
        "neuron": picks.column % scale.d_mlp, "pole": np.where(effect > 0, "+", "-"),
        "mean": scale.mean[picks.column] + effect * scale.std[picks.column], "effect": effect,
        "held_out_effect": again,
    })  # fmt: skip


def _tables(request: NgramsRequest, records: Records, found: _Found) -> dict[str, pd.DataFrame]:
    of_ngrams = pd.concat(found.of_ngrams, ignore_index=True)
    order = np.lexsort((of_ngrams["neuron"], of_ngrams["layer"], -of_ngrams["effect"].abs(), of_ngrams["ngram"]))
    of_ngrams = of_ngrams.iloc[order].reset_index(drop=True)
    of_ngrams["rank"] = of_ngrams.groupby("ngram").cumcount() + 1  # the groups of layers together
    of_ngrams = of_ngrams[of_ngrams["rank"] <= request.top]
    of_neurons = pd.concat(found.of_neurons, ignore_index=True)
    of_neurons = of_neurons.sort_values(["layer", "neuron", "pole", "rank"], kind="stable")
    return {
        NGRAMS: _ngram_table(records, found), NGRAM_NEURONS: of_ngrams, NEURON_NGRAMS: of_neurons,
        CLUSTER_NGRAMS: _cluster_table(request, found),
    }  # fmt: skip


def _ngram_table(records: Records, found: _Found) -> pd.DataFrame:
    ids = found.index.ids
    known = np.unique(ids[ids >= 0])
    strings = dict(zip(known.tolist(), records.corpus.strings(known), strict=True))
    tokens = [[strings[i] for i in row if i >= 0] for row in ids.tolist()]
    return pd.DataFrame({
        "ngram": np.arange(len(ids)), "n": found.index.n, "text": ["".join(t) for t in tokens],
        "tokens": [json.dumps(t) for t in tokens], "id_1": ids[:, 0], "id_2": ids[:, 1], "id_3": ids[:, 2],
        "count": found.count, "held_out_count": found.held_out_count,
    })  # fmt: skip


def _cluster_table(request: NgramsRequest, found: _Found) -> pd.DataFrame:
    """By |effect| for each cluster."""
    mean, again = found.explain.mean, found.select.mean
    parts = [of_columns(mean, found.index, found.count, request.top, sign=sign) for sign in _SIGNS.values()]
    row, column, effect = (np.concatenate([getattr(p, name) for p in parts]) for name in ("row", "column", "effect"))
    names = [(c.clustering, c.cluster) for c in found.clusters]
    frame = pd.DataFrame({
        "clustering": [names[c][0] for c in column.tolist()], "cluster": [names[c][1] for c in column.tolist()],
        "ngram": row, "effect": effect.astype(np.float64), "held_out_effect": again.numpy()[row, column],
    })  # fmt: skip
    frame = frame.iloc[np.lexsort((row, -np.abs(effect), column))].reset_index(drop=True)
    frame["rank"] = frame.groupby(["clustering", "cluster"]).cumcount() + 1
    return frame[frame["rank"] <= request.top]


def _facts(
    request: NgramsRequest, records: Records, found: _Found, layers: Sequence[int], n_groups: int
) -> dict[str, Any]:
    n = found.index.n
    both = pd.concat(found.of_neurons, ignore_index=True)[["effect", "held_out_effect"]].dropna()
    return {
        "n_ngrams": {str(k): int((n == k).sum()) for k in (1, 2, 3)}, "n_neurons": len(layers) * records.d_mlp,
        "layers": list(layers), "n_clusters": len(found.clusters), "n_groups": n_groups,
        "n_positions": int(found.count[n == 1].sum()), "held_out_positions": int(found.held_out_count[n == 1].sum()),
        "mean_effect": float(both["effect"].abs().mean()) if len(both) else None,
        "mean_held_out_effect": float((both["held_out_effect"] * np.sign(both["effect"])).mean())
        if len(both) else None,
    }  # fmt: skip
