"""What clusters are described by: profiles, exemplars, tokens and held-out peaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from record_stage import extract, flags, write_corpus

from neuron_signatures.corpus_analysis.activations import Slab, TokenBlock, recorded_scale, stored_source
from neuron_signatures.corpus_analysis.clusters.basis import unit
from neuron_signatures.corpus_analysis.clusters.exemplars import ExemplarBasis, places_of
from neuron_signatures.corpus_analysis.clusters.peaks import find_peaks
from neuron_signatures.corpus_analysis.clusters.profiles import ActivationBasis, Profiles, read_profiles
from neuron_signatures.corpus_analysis.clusters.tokens import cluster_tokens, member_weights
from neuron_signatures.runs.records.reader import Records


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("describe")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl"), folder / "run")) == 0
    return folder / "run"


def _profiles(values: np.ndarray, ids: np.ndarray | None = None) -> Profiles:
    windows = np.arange(len(values)) // 5
    ids = np.zeros(len(values), np.int64) if ids is None else ids
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    return Profiles(windows, ids, torch.from_numpy(z.astype(np.float32)), np.ones(values.shape[1], bool))


def test_profiles_are_standardised_and_compare_by_correlation(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        neurons = np.array(records.sampled_neurons[::9], np.int64)
        source = stored_source(records, neurons)
        found = read_profiles(records, source, neurons)
        np.testing.assert_allclose(found.values.mean(dim=0), 0, atol=1e-5)
        np.testing.assert_allclose(found.values.std(dim=0, correction=0), 1, atol=1e-4)
        (block,) = source.blocks()
        raw = next(iter(block.slabs())).values.double().numpy()
        rows = unit(ActivationBasis(found, found.windows).features()).astype(np.float64)
        np.testing.assert_allclose(rows @ rows.T, np.corrcoef(raw, rowvar=False), atol=1e-5)


def test_a_bootstrap_of_profiles_draws_documents() -> None:
    values = np.random.default_rng(0).standard_normal((40, 6))
    profiles = _profiles(values)
    document = np.arange(40) // 10
    drawn = ActivationBasis(profiles, document).resampled(np.random.default_rng(3))
    times = np.random.default_rng(3).multinomial(4, np.full(4, 1 / 4))
    rows = np.repeat(np.arange(40), times[document])
    expected = np.corrcoef(values[rows], rowvar=False)
    found = unit(drawn.astype(np.float64))
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-5)


def test_constant_neurons_have_no_profile(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        neurons = np.array(records.sampled_neurons[:3], np.int64)
        source = stored_source(records, neurons)
        source.block.values[:, 1] = 2.5
        found = read_profiles(records, source, neurons)
        assert found.varies.tolist() == [True, False, True] and not found.values[:, 1].any()


def test_tokens_at_which_the_members_are_active_together() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 6, 600)
    ids[:3] = 7  # rare
    values = rng.standard_normal((600, 8))
    values[ids == 4, :3] += 4
    values[ids == 2, :3] += 2
    values[:3] += 50
    values[ids == 5, 3:6] -= 4
    profiles = _profiles(values, ids)
    labels = np.array([0, 0, 0, 1, 1, 1, -1, -1])
    first, second = cluster_tokens(profiles, labels, n_tokens=2, min_count=5)
    assert first.token_id.tolist() == [4, 2] and first.n.tolist() == [(ids == 4).sum(), (ids == 2).sum()]
    z = profiles.values.numpy().astype(np.float64)
    np.testing.assert_allclose(first.score[0], z[ids == 4][:, :3].mean(), atol=1e-5)
    assert 5 not in second.token_id and (second.score > 0).all()
    (alone, _) = cluster_tokens(profiles, labels, n_tokens=1, min_count=1)
    assert alone.token_id.tolist() == [7]


def test_exemplars_are_mean_contexts_of_the_stronger_pole(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        neurons = np.array([(0, 3), (1, 5), (2, 11)], np.int64)
        places = places_of(records, neurons)
        for row, (layer, neuron) in enumerate(neurons.tolist()):
            lists = {p: records.strongest(layer, neuron, p, parts=("explain",), rows=False) for p in ("+", "-")}
            best = max(lists.values(), key=lambda windows: abs(windows[0].value or 0.0) if windows else 0.0)
            of = places.of[row][places.of[row] >= 0]
            assert places.window[of].tolist() == [w.window for w in best]
            assert places.pos[of].tolist() == [w.pos for w in best]
        embedded = np.random.default_rng(0).standard_normal((len(places.window), 4))
        basis = ExemplarBasis(embedded, places.of)
        means = np.stack([embedded[row[row >= 0]].mean(axis=0) for row in places.of])
        np.testing.assert_allclose(basis.features(), means - means.mean(axis=0), atol=1e-12)
        drawn = [basis.resampled(np.random.default_rng(seed)) for seed in (0, 0, 1)]
        assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


class _Blocks:
    """Two neurons in three windows, of which each is its own block."""

    neurons = np.array([(0, 0), (0, 1)], np.int64)

    def __init__(self, windows: list[int], values: list[np.ndarray]) -> None:
        self._windows, self._values = windows, values

    def blocks(self) -> Iterator[TokenBlock]:
        for window, values in zip(self._windows, self._values, strict=True):
            yield _Block(np.full(len(values), window), np.zeros(len(values), np.int64), values)


class _Block:
    def __init__(self, windows: np.ndarray, token_ids: np.ndarray, values: np.ndarray) -> None:
        self.windows, self.token_ids, self._values = windows, token_ids, values

    def slabs(self) -> Iterator[Slab]:
        yield Slab(slice(0, 2), torch.from_numpy(self._values.astype(np.float32)))


def test_held_out_peaks_are_by_document(run_dir: Path) -> None:
    with Records.open(run_dir) as records:
        corpus = records.corpus
        windows = [int(w) for w in np.argsort(-corpus.window_length, kind="stable")[:3]]
        sizes = [int(corpus.window_length[w] - corpus.window_counted_from[w]) for w in windows]
        values = [np.zeros((n, 2)) for n in sizes]
        values[0][2], values[1][1], values[2][3] = 1.0, 5.0, 3.0
        scale = recorded_scale(records, _Blocks.neurons)._replace(mean=np.zeros(2, "f4"), sd=np.ones(2, "f4"))
        weights = member_weights(np.array([0, 0]))
        peaks = find_peaks(_Blocks(windows, values), scale, np.array([0, 1]), weights, corpus)
        first = [int(corpus.window_counted_from[w]) for w in windows]
        assert peaks.pos[:, 0].tolist() == [first[0] + 2, first[1] + 1, first[2] + 3]
        np.testing.assert_allclose(peaks.value[:, 0], [1, 5, 3])
        document = np.arange(corpus.n_windows)
        assert peaks.strongest(0, 2, document) == [(windows[1], first[1] + 1), (windows[2], first[2] + 3)]
        assert peaks.strongest(0, 5, np.zeros_like(document)) == [(windows[1], first[1] + 1)]
