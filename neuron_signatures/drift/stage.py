"""Compares the runs and writes the comparison into the reference run, with the record last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.drift.align import Aligned, aligned_runs, pairs_of
from neuron_signatures.drift.measures import SMALLEST, Halves, differences_of_halves, random_halves
from neuron_signatures.drift.pairs import Pair, Setting, WeightChanges, compare_pair
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.drift.similarity import resampling, steps
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
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.stage_results import ResultWriter, open_folder
from neuron_signatures.runs.tokens import encodable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """The tables by name, and what is said about the result as a whole."""

    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any]
    warnings: list[str]

    def __getitem__(self, stem: str) -> pd.DataFrame:
        return self.tables[stem]

    @property
    def labels(self) -> dict[int, str]:
        """By checkpoint, in order."""
        rows = self[CHECKPOINTS]
        return {int(i): str(label) for i, label in zip(rows["checkpoint"], rows["label"], strict=True)}

    @property
    def reference(self) -> int:
        return int(self[CHECKPOINTS].set_index("checkpoint")["reference"].idxmax())

    def to_reference(self, stem: str) -> pd.DataFrame:
        """The rows of a table that compare a run with the reference."""
        return self[stem][self[stem]["b"] == self.reference]


Extras = Callable[[ResultWriter, Compared, CompareRequest], list[str]]
"""Writes pictures and pages beside the tables, and returns their names."""


def run_compare(request: CompareRequest, *, progress: ProgressOf, extras: Extras | None = None) -> Compared:
    """Compute and write. Raises the project's errors."""
    with aligned_runs(request) as aligned:
        reference = aligned.runs[aligned.reference]
        with open_folder(reference, comparison_folder(request.name), COMPARISON) as writer:
            found = compare(aligned, request, progress=progress)
            for stem, frame in found.tables.items():
                writer.table(stem, frame)
            if extras is not None:
                found.facts["pictures"] = extras(writer, found, request)
            writer.finish(settings=request.settings(), facts=found.facts, warnings=found.warnings)
    return found


def compare(aligned: Aligned, request: CompareRequest, *, progress: ProgressOf) -> Compared:
    """All tables; nothing is written."""
    drawn, starts = request.drawn, aligned.starts
    some = aligned.rows_of_some(drawn.cka_tokens, drawn.seed)
    with _weights(aligned, request, progress) as (weight_changes, loss):
        halves = _halves_of_reference(aligned, request)
        how = resampling(some.starts, n_draws=drawn.n_draws, seed=drawn.seed)
        setting = Setting(aligned, request, some, how, halves, weight_changes)
        pairs = pairs_of(list(aligned.runs), aligned.reference)
        with progress("layers", len(pairs) * len(aligned.layers)) as bar:
            found, facts_of = {}, []
            for pair in pairs:
                found[pair] = compare_pair(*pair, setting, bar)
                facts_of.append(pair_facts(pair, found[pair], drawn.n_draws))
                found[pair].drop_null()
    similar = {
        (a, layer): one
        for (a, b), pair in found.items() if b == aligned.reference for layer, one in pair.similarity.items()
    }  # fmt: skip
    tables = {
        CHECKPOINTS: _checkpoints(aligned, request, loss),
        DRIFT: joined([frame for pair in found.values() for frame in pair.drift], DRIFT),
        MATCHES: joined([frame for pair in found.values() for frame in pair.matches], MATCHES),
        MODELS: _models(found),
        STEPS: steps(similar, list(aligned.runs), aligned.reference),
        UNALIGNED: aligned.unaligned(),
    }
    facts = {
        "n_prompts": len(aligned.tokens), "n_tokens": aligned.n_tokens, "n_repeated_tokens": aligned.n_repeated,
        "n_tokens_not_drawn": aligned.n_not_drawn, "n_cka_tokens": len(some.rows), "layers": aligned.layers,
        "bos_rule": aligned.bos_rule,
        "pairs": facts_of,
    }  # fmt: skip
    return Compared(tables, facts, _warnings(len(starts), aligned, request))


@contextmanager
def _weights(
    aligned: Aligned, request: CompareRequest, progress: ProgressOf
) -> Iterator[tuple[WeightChanges | None, dict[int, float]]]:
    """Loads every model once, if weights are compared."""
    directions = any(run.manifest.units is not None for run in aligned.runs.values())
    if not request.weights or directions:
        yield None, {}
        return
    from neuron_signatures.drift.weights import load_all, stored_weights

    with stored_weights(aligned, request.device) as weights:
        with progress("models", len(aligned.runs)) as bar:
            load_all(weights, aligned, bar)
        yield weights.changes, weights.loss


def _halves_of_reference(aligned: Aligned, request: CompareRequest) -> dict[int, Halves]:
    halves = random_halves(
        len(aligned.tokens), request.drawn.n_draws, np.random.default_rng([request.drawn.seed, 5])
    )  # fmt: skip
    return {
        layer: differences_of_halves(
            aligned.acts(aligned.reference, layer), aligned.starts, halves, fires_above=request.fires_above
        )
        for layer in aligned.layers
    }


def _checkpoints(aligned: Aligned, request: CompareRequest, loss: dict[int, float]) -> pd.DataFrame:
    from neuron_signatures.runs.manifest_file import read_manifest

    rows = []
    for i, (label, path) in enumerate(zip(request.labels, request.runs, strict=True)):
        compared = i in aligned.runs
        m = aligned.runs[i].manifest if compared else read_manifest(path)[0]
        rows.append({
            "checkpoint": i, "label": label, "run": encodable(str(path)), "model_name": m.model_name,
            "model_revision": m.model_revision, "reference": i == aligned.reference,
            "n_prompts": len(aligned.tokens) if compared else 0, "n_tokens": aligned.n_tokens if compared else 0,
            "loss": loss.get(i, float("nan")),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _models(found: dict[tuple[int, int], Pair]) -> pd.DataFrame:
    return pd.DataFrame([
        {"a": a, "b": b, "layer": layer, **one.row}
        for (a, b), pair in found.items() for layer, one in pair.similarity.items()
    ])  # fmt: skip


def joined(frames: list[pd.DataFrame], stem: str) -> pd.DataFrame:
    """The rows of a table, with all its columns."""
    columns = list(TABLES[stem].columns)
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def pair_facts(pair: tuple[int, int], found: Pair, n_draws: int) -> dict[str, Any]:
    """Quantiles of the pair's Pearson, the nulls of permuted indices, and how many neurons are their own best match."""
    facts: dict[str, Any] = {"a": pair[0], "b": pair[1]}
    if found.drift:
        values = pd.concat(found.drift)[["pearson", "jaccard"]]
        for name, null in (("pearson", found.permuted_pearson), ("jaccard", found.permuted_jaccard)):
            facts[name] = _spread(values[name].to_numpy())
            if null:
                spread = {"sd_of_draw_means": _sd_of_means(null, n_draws), "n_draws": n_draws}
                facts[f"{name}_permuted_indices"] = _spread(np.concatenate(null)) | spread
    if found.matches:
        rows = pd.concat(found.matches)
        known = rows["best_neuron"].notna()
        facts["matches"] = {
            "n": int(known.sum()), "best_is_same_index": int((rows["same_index_rank"] == 1).sum()),
            "assigned_is_same_index": int((rows["assigned_neuron"] == rows["neuron"]).sum()),
            "best_above_null": int((rows["best_correlation"] > rows["null_high"]).sum()),
        }  # fmt: skip
    return facts


def _spread(values: np.ndarray) -> dict[str, float | int]:
    values = values[~np.isnan(values)].astype(np.float64)
    if not len(values):
        return {"n": 0}
    low, quarter, median, three, high = np.percentile(values, [5, 25, 50, 75, 95])
    return {
        "n": len(values), "mean": float(values.mean()), "sd": float(values.std()), "p5": low, "p25": quarter,
        "median": median, "p75": three, "p95": high,
    }  # fmt: skip


def _sd_of_means(null: list[np.ndarray], n_draws: int) -> float:
    """Of the mean over all neurons between draws; `null` has the draws of the first layer, then those of the next."""
    draws = [np.concatenate(null[draw::n_draws]) for draw in range(n_draws)]
    means = [float(np.nanmean(draw)) for draw in draws if len(draw) and not np.isnan(draw).all()]
    return float(np.std(means)) if means else float("nan")


def _warnings(n_prompts: int, aligned: Aligned, request: CompareRequest) -> list[str]:
    found = []
    if n_prompts < SMALLEST:
        found.append(
            f"{counted(n_prompts, 'prompt')} are too few for intervals and for z: at least {SMALLEST} are needed"
        )
    if request.jaccard_k * 10 > aligned.n_tokens:
        what = f"the {request.jaccard_k} strongest of {aligned.n_tokens} tokens often overlap by chance"
        found.append(f"{what}: see the permuted indices, or use a smaller --jaccard_k")
    if aligned.n_not_drawn:
        found.append(f"{aligned.n_not_drawn:,} tokens are not compared: --max_tokens {request.drawn.max_tokens:,}")
    if aligned.left_out:
        found.append(f"{counted(len(aligned.left_out), 'item')} not compared: table unaligned")
    return found
