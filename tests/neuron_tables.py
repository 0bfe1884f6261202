"""Runs with hand-made results of stages 8 and 9 and of the analyses of a corpus, written through the real writers.

Texts are hostile. Some columns are null, some constant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from neuron_signatures.runs.comparisons import folder as comparisons
from neuron_signatures.runs.comparisons.folder import COMPARISON, comparison_folder
from neuron_signatures.runs.corpus_analysis import folder as corpus
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, contrast_folder
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import StageFolder, open_folder
from neuron_signatures.runs.weights.folder import (
    NEIGHBOUR_NULL,
    NEIGHBOURS,
    RANDOM,
    STATISTICS,
    WEIGHTS,
    WEIGHTS_FOLDER,
)

EVIL = "<img src=x onerror=\"document.title='EVIL'\">"
MARKUP = "[@click=app.quit]x[/] \x1b[31mred\u202e $\\href{//evil.invalid}{y}$"
N_LAYERS, D_MLP = 2, 5
KMEANS, HDBSCAN = "activations-kmeans-2", "exemplars-hdbscan"
TEXTS = (" the", f" {EVIL}", MARKUP, " of the")
NEURONS = [(layer, neuron) for layer in range(N_LAYERS) for neuron in range(D_MLP)]
_CLASSES = ("prediction", "suppression", "partition", "entropy", "none")


def weights(run_dir: Path, *, gate: bool = False, records: bool = False, sources: tuple[str, ...] = ()) -> None:
    """Statistics and three neighbours per weight, of which some are of a layer that the run does not store."""
    statistics = [
        {"layer": layer, "neuron": neuron, "class": _CLASSES[neuron], "logit_mean": 0.0,
         "logit_variance": 1e-3 * neuron,
         "logit_skewness": 1.0 - neuron, "logit_kurtosis": 3.0 + 4 * neuron + layer, "norm_out": 1.0, "norm_in": 0.5,
         "norm_gate": 0.25 if gate else None, "cos_in_out": 0.1 * neuron - 0.2, "cos_gate_out": 0.1 if gate else None,
         "cos_in_gate": 0.2 if gate else None, "null_share": 0.02 * neuron,
         "frequency_correlation": 0.3 if records else None}
        for layer, neuron in NEURONS
    ]  # fmt: skip
    neighbours = [
        {"layer": layer, "neuron": neuron, "weight": weight, "rank": rank, "other_layer": 7 if rank == 3 else 1 - layer,
         "other_neuron": (neuron + rank) % D_MLP, "cosine": None if rank == 2 else 0.9 - 0.5 * rank}
        for layer, neuron in NEURONS for weight in WEIGHTS if gate or weight != "gate" for rank in (1, 2, 3)
    ]  # fmt: skip
    random = [{"layer": 0, "draw": i, "class": "none", "norm_out": 1.0} for i in range(3)]
    null = [{"weight": "output", "layer": 0, "neuron": 0, "cosine": 0.2}]
    chance = {"neurons": 2, "share": 0.2, "random_share": 0.05}
    facts = {"n_neurons": 10, "classes": dict.fromkeys(_CLASSES, chance),
             "neighbours": {"output": {"null_high": 0.25, "n_null": 1000}}}  # fmt: skip
    write(run_dir, WEIGHTS_FOLDER, "statistics", {
        STATISTICS: statistics, NEIGHBOURS: neighbours, RANDOM: random, NEIGHBOUR_NULL: null,
    }, facts, sources)  # fmt: skip


def similar(run_dir: Path, sources: tuple[str, ...] = ()) -> None:
    rows = []
    for layer, neuron in NEURONS:
        for kind, pole in (("activation", ""), ("windows", "+"), ("windows", "-")):
            rows += [
                {"layer": layer, "neuron": neuron, "pole": pole, "kind": kind, "rank": rank, "other_layer": 1 - layer,
                 "other_neuron": (neuron + rank) % D_MLP, "other_pole": "-" if pole else "",
                 "value": (0.8 - 0.3 * rank) * (1 if pole else -1), "low": None, "high": None, "null_high": 0.2,
                 "n": 100}
                for rank in (1, 2)
            ]  # fmt: skip
    analysis(run_dir, "similar", {corpus.SIMILAR: rows}, sources)


def clusters(run_dir: Path, sources: tuple[str, ...] = ()) -> None:
    """Two clusterings; HDBSCAN has a cluster and noise, and nothing of it was ablated."""
    null = {"null_mean": 0.01, "null_sd": 0.005, "p": 0.01, "n_null": 100}
    clusterings = [
        {"clustering": name, "basis": name.split("-")[0], "method": name.split("-")[1], "n_clusters": n,
         "n_neurons": 10,
         "n_noise": noise, "ari_mean": 0.8, "ari_low": 0.7, "ari_high": 0.9, "n_bootstraps": 20, "null_ari_mean": 0.05,
         "silhouette": 0.3 if n > 1 else None, **(null if n > 1 else {})}
        for name, n, noise in ((KMEANS, 2, 0), (HDBSCAN, 1, 5))
    ]  # fmt: skip
    own = [
        {"clustering": name, "cluster": c, "name": TEXTS[c], "n_neurons": 5, "silhouette": 0.3,
         "stability": 0.9 - c / 10,
         "effect": None if name == HDBSCAN else 0.2 + c, "effect_low": None if name == HDBSCAN else 0.1,
         "effect_high": None if name == HDBSCAN else 0.4 + c, "n_windows": 20,
         **({} if name == HDBSCAN else null)}
        for name, c in ((KMEANS, 0), (KMEANS, 1), (HDBSCAN, 0))
    ]  # fmt: skip
    neurons = [
        {"clustering": name, "layer": layer, "neuron": neuron, "cluster": layer if name == KMEANS else -layer,
         "distance": None if name == HDBSCAN else 0.1 * neuron}
        for name in (KMEANS, HDBSCAN) for layer, neuron in NEURONS
    ]  # fmt: skip
    tokens = [
        {"clustering": name, "cluster": c, "rank": rank, "token_id": rank, "token": TEXTS[rank - 1],
         "score": 3.0 / rank, "count": 7}
        for name, c in ((KMEANS, 0), (KMEANS, 1), (HDBSCAN, 0)) for rank in (1, 2, 3)
    ]  # fmt: skip
    analysis(run_dir, "clusters", {corpus.CLUSTERINGS: clusterings, corpus.CLUSTERS: own,
                                   corpus.CLUSTER_NEURONS: neurons, corpus.CLUSTER_TOKENS: tokens},
             sources)  # fmt: skip


def meanings(run_dir: Path, sources: tuple[str, ...] = ()) -> None:
    """Both poles of every neuron; of layer 1 the null is undefined."""
    own, groups, windows = [], [], []
    for layer, neuron in NEURONS:
        for pole in "+-":
            key = {"layer": layer, "neuron": neuron, "pole": pole}
            null = {"null_mean": 0.2, "null_sd": 0.05, "p": 0.002, "n_null": 500, "q": 0.01} if layer == 0 else {}
            own.append({**key, "n_windows": 4, "n_groups": 2, "effective_number": 1.75,
                        "null_effective_number": 1.25, "held_out_n_windows": 4, "held_out_effective_number": 1.5,
                        "held_out_statistic": 0.35, "within": 0.2, "between": 0.6,
                        "statistic": 0.4, **null})  # fmt: skip
            groups += [{**key, "group": g, "n_windows": 3 - 2 * g, "share": 0.75 - 0.5 * g,
                        "tokens": json.dumps([TEXTS[g], " a"]), "cohesion": 0.9} for g in (0, 1)]  # fmt: skip
            windows += [{**key, "rank": rank, "window": rank, "pos": 1, "group": 0 if rank < 3 else 1}
                        for rank in range(4)]  # fmt: skip
    analysis(run_dir, "meanings", {corpus.MEANINGS: own, corpus.MEANING_GROUPS: groups,
                                   corpus.MEANING_WINDOWS: windows}, sources)  # fmt: skip


def ngrams(run_dir: Path, sources: tuple[str, ...] = ()) -> None:
    """Four n-grams, the last of two tokens."""
    known = [
        {"ngram": i, "n": 2 if i == 3 else 1, "text": text, "tokens": json.dumps([text]), "id_1": i,
         "id_2": 0 if i == 3 else -1, "id_3": -1,
         "count": 100 - i, "held_out_count": 50}
        for i, text in enumerate(TEXTS)
    ]  # fmt: skip
    effect = {"mean": 1.5, "effect": 2.5, "held_out_effect": None, "suffix_effect": None}
    by_ngram = [{"ngram": i, "rank": r, "layer": r % 2, "neuron": i, "pole": "+-"[r % 2], **effect}
                for i in range(4) for r in (1, 2)]  # fmt: skip
    by_neuron = [{"layer": layer, "neuron": neuron, "pole": pole, "rank": r, "ngram": r, **effect}
                 for layer, neuron in NEURONS for pole in "+-" for r in (1, 2)]  # fmt: skip
    by_cluster = [{"clustering": KMEANS, "cluster": c, "rank": r, "ngram": r, "effect": 1.25, "held_out_effect": 1.0}
                  for c in (0, 1) for r in (1, 2)]  # fmt: skip
    analysis(run_dir, "ngrams", {corpus.NGRAMS: known, corpus.NGRAM_NEURONS: by_ngram, corpus.NEURON_NGRAMS: by_neuron,
                                 corpus.CLUSTER_NGRAMS: by_cluster}, sources)  # fmt: skip


def contrast(run_dir: Path, name: str = "capitals") -> None:
    rows = [
        {"layer": layer, "neuron": neuron, "rank": i + 1, "auroc": 0.9 - 0.05 * i, "difference": 2.0 - i, "p": 1e-6,
         "q": 1e-5, "mean_a": 1.0, "mean_b": 0.0, "sd": 0.5, "held_out_auroc": None if i == 1 else 0.85,
         "held_out_low": 0.8, "held_out_high": 0.9, "n_a": 40, "n_b": 60}
        for i, (layer, neuron) in enumerate(NEURONS)
    ]  # fmt: skip
    facts = {"n_found": 8, "n_neurons": 10, "n_a": 40, "n_same_side_held_out": 7, "null_counts": [0, 1]}
    write(run_dir, contrast_folder(name), corpus.CONTRAST, {corpus.CONTRAST: rows}, facts,
          settings={"a": f"token:{EVIL}", "b": "token: of"})  # fmt: skip


def comparison(run_dir: Path, name: str = "checkpoints", *, n: int = 3, weights: bool = True) -> None:
    """`n` checkpoints, the last of which is the reference; the debiased CKA rises from 0 to 1."""
    labels = [f"step {100 * i}" if i else EVIL for i in range(n)]
    runs = [{"checkpoint": i, "label": label, "run": f"runs/{i}", "model_name": MARKUP, "model_revision": None,
             "reference": i == n - 1, "n_prompts": 4, "n_tokens": 40, "loss": None if i == 1 else 3.0 - i}
            for i, label in enumerate(labels)]  # fmt: skip
    pairs = [(i, n - 1) for i in range(n - 1)] + [(i, i + 1) for i in range(n - 2)]
    drift = [_drifted(a, b, layer, neuron, n, weights) for a, b in pairs for layer, neuron in NEURONS]
    matches = [{"a": a, "b": b, "layer": layer, "neuron": neuron, "best_neuron": (neuron + 1) % D_MLP,
                "best_correlation": 0.7, "null_high": 0.3, "assigned_neuron": neuron, "assigned_correlation": 0.6,
                "same_index_rank": 2} for a, b in pairs for layer, neuron in NEURONS]  # fmt: skip
    models = [{"a": a, "b": b, "layer": layer, "cka": 0.5, "debiased_cka": a / max(1, n - 1), "low": a / n - 0.1,
               "high": a / n + 0.1, "null_mean": 0.01, "null_sd": 0.02, "p": 0.01, "n_null": 200, "n_tokens": 40}
              for a, b in pairs for layer in (-1, 0, 1)]  # fmt: skip
    unaligned = [{"checkpoint": 0, "what": "prompt", "name": EVIL, "why": "other token ids"}]
    steps = [{"a": i, "b": i + 1, "layer": -1, "change": 0.5, "low": 0.4, "high": 0.6, "largest_share": 0.75}
             for i in range(n - 1)]  # fmt: skip
    folder = comparison_folder(name)
    write(run_dir, folder, COMPARISON, {
        comparisons.CHECKPOINTS: runs, comparisons.DRIFT: drift, comparisons.MATCHES: matches,
        comparisons.MODELS: models, comparisons.STEPS: steps, comparisons.UNALIGNED: unaligned,
    }, {"n_pairs": len(pairs)}, html=f"<!DOCTYPE html><title>{name}</title>")  # fmt: skip


def _drifted(a: int, b: int, layer: int, neuron: int, n: int, weights: bool) -> dict[str, Any]:
    near = (a + 1) / n
    cos = {"cos_in": near, "cos_out": near, "norm_ratio_in": 1.1, "norm_ratio_out": 0.9} if weights else {}
    return {"a": a, "b": b, "layer": layer, "neuron": neuron, "pearson": None if neuron == 4 else near - 0.1 * neuron,
            "jaccard": 0.25, "mean_a": 0.1 * a, "mean_b": 0.1 * b, "mean_z": 4.0 - neuron, "std_a": 1.0, "std_b": 2.0,
            "std_z": 8.0, "rate_a": 0.2, "rate_b": 0.3, "rate_z": None, **cos}  # fmt: skip


def everything(run_dir: Path) -> None:
    """All folders, also with a gate and token frequencies."""
    weights(run_dir, gate=True, records=True)
    for make in (similar, clusters, meanings, ngrams):
        make(run_dir)
    contrast(run_dir)
    comparison(run_dir)


def analysis(run_dir: Path, mode: str, tables: dict[str, list[dict]], sources: tuple[str, ...]) -> None:
    write(run_dir, CORPUS_ANALYSIS_FOLDER, mode, tables, {"n": 1}, sources)


def write(
    run_dir: Path, folder: StageFolder, mode: str, tables: dict[str, list[dict]], facts: dict[str, Any],
    sources: tuple[str, ...] = (), settings: dict[str, Any] | None = None, html: str = "",
) -> None:  # fmt: skip
    """One finished mode; `html` is the animation of a comparison."""
    with Run.open(run_dir) as run, open_folder(run, folder, mode) as writer:
        for stem, rows in tables.items():
            columns = list(folder.tables[stem].columns)
            writer.table(stem, pd.DataFrame(rows, columns=columns, dtype=object))
        if html:
            with writer.files.file(comparisons.ANIMATION, needed=len(html)) as f:
                f.write(html.encode())
        writer.finish(settings=settings or {"k": 3}, facts=facts, sources=sources)
