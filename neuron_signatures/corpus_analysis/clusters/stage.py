"""`clusters` from request to files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuron_signatures.corpus_analysis.activations import ModelSource, Source, recorded_scale, stored_source
from neuron_signatures.corpus_analysis.choice import Choice, Pairs, choose
from neuron_signatures.corpus_analysis.clusters.basis import Basis, reduced, weight_basis
from neuron_signatures.corpus_analysis.clusters.effect import Ablation, Effect, cluster_effect
from neuron_signatures.corpus_analysis.clusters.exemplars import ExemplarBasis, places_of
from neuron_signatures.corpus_analysis.clusters.grouping import SHORT_LIST, Grouper
from neuron_signatures.corpus_analysis.clusters.peaks import find_peaks
from neuron_signatures.corpus_analysis.clusters.profiles import ActivationBasis, Profiles, read_profiles
from neuron_signatures.corpus_analysis.clusters.request import ClustersRequest
from neuron_signatures.corpus_analysis.clusters.stability import measure
from neuron_signatures.corpus_analysis.clusters.summary import ClustersSummary
from neuron_signatures.corpus_analysis.clusters.tables import Clustering, make_tables
from neuron_signatures.corpus_analysis.clusters.tokens import cluster_tokens, member_weights
from neuron_signatures.corpus_analysis.contexts import ContextSettings, open_contexts
from neuron_signatures.corpus_analysis.passes import CorpusPass, choose_windows, open_pass, plan_of_records
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.records.corpus.blocks import longest_window
from neuron_signatures.runs.corpus_analysis.folder import CLUSTERS, CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.corpus_analysis.folder import Basis as BasisName
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.names import PARTS, RECORDS, RECORDS_META, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder
from neuron_signatures.runs.units import need_neurons

_DESCRIBE, _TEST = PARTS[0], PARTS[1]
FEWEST_NEURONS = 10


@dataclass(frozen=True, eq=False)
class _Work:
    """A command whose neurons are known. `corpus_pass` is None if nothing needs the model."""

    request: ClustersRequest
    records: Records
    neurons: Pairs
    profiles: Profiles
    corpus_pass: CorpusPass | None
    progress: ProgressOf


def find_clusters(request: ClustersRequest, progress: ProgressOf) -> ClustersSummary:
    """Carry out a command. Raises `UsageError` for neurons without records, for too few of them, and for units that
    are no neurons where neurons are needed."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        choice = choose(run, records, request.choice)
        check(request, run, records, choice)
        with open_folder(run, CORPUS_ANALYSIS_FOLDER, CLUSTERS) as writer:
            with _opened(request, run, records, choice, progress) as corpus_pass:
                work, n_constant = _begin(request, records, choice, corpus_pass, progress)
                found = [c for name in request.grouping.bases for c in _clusterings(work, name)]
                if request.effect is not None:
                    found = _with_effects(work, found)
            tables = make_tables(found, work.neurons, records.corpus)
            for stem, frame in tables.items():
                writer.table(stem, frame)
            facts: dict[str, Any] = {
                "n_neurons": len(work.neurons), "n_constant": n_constant, "n_tokens": len(work.profiles.windows),
                "n_windows": len(np.unique(work.profiles.windows)),
                "with_model": corpus_pass is not None,
            }  # fmt: skip
            settings = {**request.settings(), "neurons": choice.by}
            writer.finish(settings=settings, facts=facts, sources=[f"{RECORDS}/{RECORDS_META}"])
    return ClustersSummary(str(request.run_dir), tables, facts)


def check(request: ClustersRequest, run: Run, records: Records, choice: Choice) -> None:
    """Refuse what cannot be computed, before an earlier result is removed."""
    n = len(choice.chosen)
    most = max([FEWEST_NEURONS, *(2 * k for k in request.grouping.n_clusters)])
    if n < most:
        what = f"{n} neurons are too few for clusters (at least {most})"
        raise UsageError(what, where=str(run.path), next_step="Choose more neurons, such as --all, or smaller --k")
    if "weights" in request.grouping.bases:
        need_neurons(run, "--by weights")
    if request.effect is not None:
        need_neurons(run, "the effect of a cluster (--no_effect leaves it out)")
        choose_windows(records.corpus, (_TEST,))
    if needs_model(request, records, choice):
        plan_of_records(run, records, request.overrides)


def needs_model(request: ClustersRequest, records: Records, choice: Choice) -> bool:
    """Whether the model is run: not if all neurons are in the stored sample, without weights and effects."""
    stored = all(records.sampled(*at) for at in choice.chosen.tolist())
    return not stored or request.effect is not None or "weights" in request.grouping.bases


@contextlib.contextmanager
def _opened(
    request: ClustersRequest, run: Run, records: Records, choice: Choice, progress: ProgressOf
) -> Iterator[CorpusPass | None]:
    if not needs_model(request, records, choice):
        yield None
        return
    overrides = request.overrides
    if request.effect is not None and overrides.dtype is None:
        overrides = replace(overrides, dtype="fp32")  # an effect is a difference of two forward passes
    layers = np.unique(choice.chosen[:, 0]).tolist()
    with open_pass(run, records, overrides, layers=layers, batch_size=request.batch_size) as corpus_pass:
        yield corpus_pass


def _begin(
    request: ClustersRequest, records: Records, choice: Choice, corpus_pass: CorpusPass | None, progress: ProgressOf
) -> tuple[_Work, int]:
    """Read the profiles. Neurons that are constant in the sample are left out; returns how many."""
    if corpus_pass is None:
        profiles = read_profiles(records, stored_source(records, choice.chosen), choice.chosen)
    else:
        with _reading(request, corpus_pass, _DESCRIBE, progress) as source:
            profiles = read_profiles(records, source, choice.chosen)
    varies = np.flatnonzero(profiles.varies)
    if len(varies) < FEWEST_NEURONS:
        what = f"{len(varies)} of the chosen neurons vary in the sample of tokens"
        raise UsageError(what, where=str(records.path), next_step="Choose other neurons or more --sample_tokens")
    work = _Work(request, records, choice.chosen[varies], profiles.of(varies), corpus_pass, progress)
    return work, len(choice.chosen) - len(varies)


@contextlib.contextmanager
def _reading(
    request: ClustersRequest, corpus_pass: CorpusPass, part: Part, progress: ProgressOf
) -> Iterator[ModelSource]:
    """The activations at the sample of tokens of a part."""
    windows = choose_windows(corpus_pass.corpus, (part,), n_tokens=request.sample_tokens, seed=request.seed)
    with progress("tokens", int(corpus_pass.corpus.window_length[windows].sum())) as bar:
        yield ModelSource(corpus_pass, windows, bar)


def _clusterings(work: _Work, name: BasisName) -> Iterator[Clustering]:
    """All clusterings by this basis."""
    request, grouping = work.request, work.request.grouping
    basis = _basis(work, name)
    features = reduced(basis.features(), seed=request.seed)
    most = len(work.neurons) // 2
    for method in grouping.methods:
        short = tuple(k for k in SHORT_LIST if k <= most) or (2,)
        tried: list[tuple[int, ...]] = [(k,) for k in grouping.n_clusters] or [short]
        for n_clusters in tried if method == "kmeans" else [()]:
            grouper = Grouper(method, n_clusters, grouping.min_cluster_size, request.seed)
            found = grouper.best(features)
            n_steps = request.checks.n_bootstraps + max(request.checks.n_bootstraps, request.checks.n_shuffles)
            with work.progress(f"draws of {name} by {method}", n_steps) as bar:
                stability = measure(
                    basis, features, grouper, found, n_bootstraps=request.checks.n_bootstraps,
                    n_shuffles=request.checks.n_shuffles, seed=request.seed, bar=bar,
                )  # fmt: skip
            tokens = cluster_tokens(work.profiles, found.labels, n_tokens=request.n_tokens, min_count=request.min_count)
            yield Clustering(name, method, found, features, stability, tokens)


def _basis(work: _Work, name: BasisName) -> Basis:
    request, corpus = work.request, work.records.corpus
    if name == "activations":
        document = corpus.window_document[work.profiles.windows].astype(np.int64)
        return ActivationBasis(work.profiles, document)
    if name == "weights":
        assert work.corpus_pass is not None
        return weight_basis(work.corpus_pass.model.hf, longest_window(corpus), work.neurons)
    places = places_of(work.records, work.neurons)
    settings = ContextSettings(request.grouping.embedding, seed=request.seed)
    contexts = open_contexts(corpus, settings, device=request.overrides.device)
    return ExemplarBasis(contexts.embed(places.window, places.pos), places.of)


def _with_effects(work: _Work, found: list[Clustering]) -> list[Clustering]:
    """The clusterings with the effect of each cluster on held-out windows."""
    import torch

    request, records = work.request, work.records
    assert request.effect is not None and work.corpus_pass is not None
    weights = torch.cat([member_weights(c.found.labels) for c in found], dim=1)
    with _reading(request, work.corpus_pass, _TEST, work.progress) as source:
        scale = recorded_scale(records, source.neurons)
        columns = _columns(source, work.neurons)
        peaks = find_peaks(source, scale, columns, weights, records.corpus)
    ablation = _ablation(work)
    document = records.corpus.window_document.astype(np.int64)
    effects: list[Effect] = []
    with work.progress("clusters", weights.shape[1]) as bar:
        for clustering in found:
            for cluster in range(clustering.found.n_clusters):
                members = work.neurons[clustering.found.labels == cluster]
                windows = peaks.strongest(len(effects), request.effect.n_windows, document)
                effects.append(cluster_effect(
                    ablation, members, windows, request.effect, seed=request.seed + len(effects)
                ))  # fmt: skip
                bar.advance(1)
    left = iter(effects)
    return [replace(c, effects=[next(left) for _ in range(c.found.n_clusters)]) for c in found]


def _ablation(work: _Work) -> Ablation:
    import torch

    assert work.corpus_pass is not None
    hf, records = work.corpus_pass.model.hf, work.records
    means = torch.zeros(records.meta.n_layers, records.d_mlp)
    for layer in work.corpus_pass.layers:
        mean = records.layer_moments(layer, parts=(_DESCRIBE,)).mean
        means[layer] = torch.from_numpy(np.nan_to_num(mean)).float()
    return Ablation(hf, records.corpus, means, write_norms(hf, longest_window(records.corpus)))


def _columns(source: Source, neurons: Pairs) -> np.ndarray:
    place = {tuple(at): i for i, at in enumerate(source.neurons.tolist())}
    return np.array([place[tuple(at)] for at in neurons.tolist()], np.int64)
