"""Compares runs by their records of the same corpus: moments, firing rates, strongest windows, and samples.

Only documents of the parts `explain` and `select` are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from neuron_signatures.drift.align import LeftOut, pairs_of, unaligned_table
from neuron_signatures.drift.measures import jaccard, other_indices, pearson
from neuron_signatures.drift.pairs import Pair
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.drift.stage import Compared, Extras, joined, pair_facts
from neuron_signatures.runs.comparisons.folder import (
    CHECKPOINTS,
    COMPARISON,
    DRIFT,
    MATCHES,
    MODELS,
    STEPS,
    TABLES,
    UNALIGNED,
    comparison_folder,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.meta import corpus_digest
from neuron_signatures.runs.records.names import POLES, RECORDS, RECORDS_META, SAMPLE_META, Part
from neuron_signatures.runs.records.neuron_files import NeuronFiles
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder
from neuron_signatures.runs.tokens import encodable

PARTS: Final[tuple[Part, ...]] = ("explain", "select")


def run_compare_records(
    request: CompareRequest, *, progress: ProgressOf, extras: Extras | None = None
) -> Compared:  # fmt: skip
    """Compute and write. Raises the project's errors."""
    with ExitStack() as stack:
        runs = [stack.enter_context(Run.open(path)) for path in request.runs]
        records = [stack.enter_context(Records.open(run)) for run in runs]
        left_out = _left_out(records, request)
        kept = {i: r for i, r in enumerate(records) if all(row.checkpoint != i for row in left_out)}
        if len(kept) < 2:
            what = "nothing is left to compare: " + "; ".join(f"{row.name}: {row.why}" for row in left_out)
            raise UsageError(what, where=str(runs[request.reference].path), next_step="Record the same corpus in both")
        _check_k(request, list(kept.values()))
        folder = comparison_folder(request.name)
        with open_folder(runs[request.reference], folder, COMPARISON) as writer:
            found = _compare(kept, runs, request, left_out, progress=progress)
            for stem, frame in found.tables.items():
                writer.table(stem, frame)
            if extras is not None:
                found.facts["pictures"] = extras(writer, found, request)
            sources = [f"{RECORDS}/{name}" for name in (RECORDS_META, SAMPLE_META)]
            writer.finish(settings=request.settings(), facts=found.facts, sources=sources, warnings=found.warnings)
    return found


def _left_out(records: Sequence[Records], request: CompareRequest) -> list[LeftOut]:
    """Runs with records of another corpus, or of other neurons, than those of the reference."""
    reference = records[request.reference]
    digest, found = corpus_digest(reference.corpus.meta), []
    for i, own in enumerate(records):
        why = ""
        if corpus_digest(own.corpus.meta) != digest:
            why = "its records are of another corpus, or of other windows or tokens of it"
        elif own.d_mlp != reference.d_mlp:
            why = f"{own.d_mlp} neurons per layer, the reference has {reference.d_mlp}"
        elif not set(own.layers) & set(reference.layers):
            why = "no layer of the reference is recorded"
        if why:
            found.append(LeftOut(i, "run", request.labels[i], why))
    return found


def _check_k(request: CompareRequest, records: Sequence[Records]) -> None:
    most = min(r.meta.top_k for r in records)
    if request.jaccard_k > most:
        raise UsageError(f"the records keep {most} windows of each neuron", where=f"--jaccard_k {request.jaccard_k}")


def _compare(
    records: dict[int, Records], runs: Sequence[Run], request: CompareRequest, left_out: list[LeftOut], *,
    progress: ProgressOf,
) -> Compared:  # fmt: skip
    layers = sorted(set.intersection(*(set(r.layers) for r in records.values())))
    left_out += [
        LeftOut(i, "layer", str(layer), "is not recorded in all runs")
        for i, r in records.items() for layer in r.layers if layer not in layers
    ]  # fmt: skip
    files = {i: NeuronFiles(r.path, r.meta, r.corpus) for i, r in records.items()}
    pairs = pairs_of(list(records), request.reference)
    found = {pair: Pair() for pair in pairs}
    try:
        with progress("layers", len(layers)) as bar:
            for layer in layers:
                sides = {i: _Layer(r, files[i], layer, request) for i, r in records.items()}
                for (a, b), pair in found.items():
                    pair.drift.append(_drift(a, b, layer, sides[a], sides[b]))
                    _permute(
                        pair, sides[a], sides[b], request, np.random.default_rng([request.drawn.seed, a, b, layer])
                    )
                bar.advance(1)
    finally:
        for file in files.values():
            file.close()
    reference = records[request.reference]
    tables = {stem: pd.DataFrame(columns=list(TABLES[stem].columns)) for stem in (MATCHES, MODELS, STEPS)}
    tables[CHECKPOINTS] = _checkpoints(runs, records, request)
    tables[DRIFT] = joined([frame for pair in found.values() for frame in pair.drift], DRIFT)
    tables[UNALIGNED] = unaligned_table(left_out)
    documents = reference.corpus.document_part
    facts: dict[str, Any] = {
        "n_prompts": int((documents < len(PARTS)).sum()), "n_tokens": _n_tokens(reference, layers[0]),
        "n_repeated_tokens": 0, "n_tokens_not_drawn": 0, "n_cka_tokens": 0, "layers": layers,
        "bos_rule": "as in the records; documents of explain and select", "parts": list(PARTS),
        "rate_above": _threshold(files[request.reference].histogram(0, 0, PARTS).edges, request.fires_above),
        "n_sampled": int(tables[DRIFT]["pearson"].notna().sum()),
        "pairs": [pair_facts(p, one, request.drawn.n_draws) for p, one in found.items()],
    }  # fmt: skip
    return Compared(tables, facts, [])


class _Layer:
    """One layer of one run's records."""

    def __init__(self, records: Records, files: NeuronFiles, layer: int, request: CompareRequest) -> None:
        self.records, self.layer = records, layer
        row = records.layers.index(layer)
        of = records.layer_moments(layer, parts=PARTS)
        self.mean, self.std = of.mean, of.std
        self.edges = files.histogram(row, 0, PARTS).edges
        self.rate = np.array([self._rate(files, row, n, request.fires_above) for n in range(records.d_mlp)])
        self.strongest = np.stack(
            [_strongest(files, row, n, request.jaccard_k) for n in range(records.d_mlp)], axis=1
        )  # fmt: skip

    def _rate(self, files: NeuronFiles, row: int, neuron: int, above: float) -> float:
        """Share of the activations in the bins from the threshold on."""
        found = files.histogram(row, neuron, PARTS)
        firing = found.counts[found.edges[:-1] >= _threshold(found.edges, above)].sum()
        return float(firing / found.n) if found.n else float("nan")


def _threshold(edges: np.ndarray, above: float) -> float:
    """The first edge of the bins at or above the wanted threshold and above 0: the bin from 0 on has the zeros too."""
    usable = edges[(edges >= above) & (edges > 0)]
    return float(usable[0])


def _strongest(files: NeuronFiles, row: int, neuron: int, k: int) -> Int64[np.ndarray, " k"]:
    """Windows with the largest |activation| of either pole, ties by window; -1 where there are fewer."""
    largest: dict[int, float] = {}
    for pole in POLES:
        for pick in files.strongest(row, neuron, pole, PARTS, k):
            size = abs(pick.value or 0.0)
            if size > 0:
                largest[pick.window] = max(size, largest.get(pick.window, 0.0))
    windows = sorted(largest, key=lambda w: (-largest[w], w))[:k]
    return np.array(windows + [-1] * (k - len(windows)), np.int64)


def _drift(a: int, b: int, layer: int, first: _Layer, second: _Layer) -> pd.DataFrame:
    same_bins = np.array_equal(first.edges, second.edges)
    return pd.DataFrame({
        "a": a, "b": b, "layer": layer, "neuron": np.arange(len(first.mean)), "pearson": _sampled(first, second),
        "jaccard": jaccard(first.strongest, second.strongest), "mean_a": first.mean, "mean_b": second.mean,
        "std_a": first.std, "std_b": second.std, "rate_a": first.rate if same_bins else np.nan,
        "rate_b": second.rate if same_bins else np.nan,
    }).reindex(columns=list(TABLES[DRIFT].columns))  # fmt: skip


def _sampled(first: _Layer, second: _Layer) -> Float64[np.ndarray, " neuron"]:
    """Pearson over the positions that count in the windows that both samples have; NaN for other neurons."""
    out = np.full(len(first.mean), np.nan)
    for layer, neuron in set(first.records.sampled_neurons) & set(second.records.sampled_neurons):
        if layer != first.layer:
            continue
        samples = [side.records.sample(layer, neuron, parts=PARTS) for side in (first, second)]
        common = np.intersect1d(samples[0].windows, samples[1].windows)
        acts = []
        for s in samples:
            chosen = np.repeat(np.isin(s.windows, common), np.diff(s.starts)) & s.counts
            acts.append(np.asarray(s.acts[chosen], np.float32)[:, None])
        if len(acts[0]) > 1:
            out[neuron] = pearson(acts[0], acts[1])[0]
    return out


def _permute(pair: Pair, first: _Layer, second: _Layer, request: CompareRequest, rng: np.random.Generator) -> None:
    """Jaccard with a random other index. Of Pearson there is no such null: few neurons have samples."""
    for _ in range(request.drawn.n_draws):
        order = other_indices(len(first.mean), rng)
        pair.permuted_jaccard.append(jaccard(first.strongest[:, order], second.strongest).astype(np.float32))


def _checkpoints(runs: Sequence[Run], records: dict[int, Records], request: CompareRequest) -> pd.DataFrame:
    rows = []
    for i, run in enumerate(runs):
        own = records.get(i)
        rows.append({
            "checkpoint": i, "label": request.labels[i], "run": encodable(str(request.runs[i])),
            "model_name": run.manifest.model_name, "model_revision": run.manifest.model_revision,
            "reference": i == request.reference, "n_prompts": 0,
            "n_tokens": 0 if own is None else _n_tokens(own, own.layers[0]), "loss": float("nan"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _n_tokens(records: Records, layer: int) -> int:
    """Positions that count in the parts that are read."""
    return int(records.layer_moments(layer, parts=PARTS).count.max())
