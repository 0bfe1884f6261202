"""Modes of the strongest windows: planted clusters are found, and one cloud is one mode."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made_records import AT, record, records_of

from neuron_signatures.explain.clustering import cluster, silhouettes
from neuron_signatures.explain.evidence.excerpts import Excerpt
from neuron_signatures.explain.evidence.neuron import NeuronEvidence
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.modes import ALPHA, LEAST_SILHOUETTE, find_modes


def excerpts(n: int, folded: dict[int, int] | None = None) -> list[Excerpt]:
    """Text i is the number i; some stand for several windows."""
    made = []
    for i in range(n):
        more = tuple(1000 * (i + 1) + j for j in range((folded or {}).get(i, 0)))
        made.append(Excerpt(i, i, (str(i),), np.array([9 - i / n], np.float32), np.ones(1, bool), 0, more))
    return made


def embedder(centres: list[int], dim: int = 32, spread: float = 0.3, seed: int = 0):
    """Embeds text i near the centre with number `centres[i]`."""
    random = np.random.default_rng(seed)
    places = random.standard_normal((10, dim))
    vectors = np.array([places[c] + spread * random.standard_normal(dim) for c in centres], np.float32)
    return lambda texts: vectors[[int(t) for t in texts]]


@pytest.mark.parametrize("n_clusters", [2, 3])
def test_planted_clusters_are_found_with_their_shares(n_clusters):
    centres = [i % n_clusters if i < 12 else 0 for i in range(30)]
    modes = find_modes(excerpts(30), 5, embedder(centres), seed=0)
    assert len(modes) == n_clusters
    assert [set(m.windows) for m in modes] == [{i for i, c in enumerate(centres) if c == k} for k in range(n_clusters)]
    assert [m.number for m in modes] == list(range(n_clusters))
    assert [m.share for m in modes] == [pytest.approx(centres.count(k) / 30) for k in range(n_clusters)]
    choice = modes[0].choice
    assert choice.p == pytest.approx(1 / 101) and choice.n_draws == 100 and choice.n_texts == 30
    best = next(t for t in choice.tried if t.n_clusters == n_clusters)
    assert best.silhouette > best.null_high > best.null_mean > 0 and best.null_std > 0


@pytest.mark.parametrize("seed", range(5))
def test_one_cloud_is_one_mode(seed):
    """Also one that is longer in some directions, in which k-means finds halves."""
    random = np.random.default_rng(seed)
    vectors = (random.standard_normal((40, 32)) * np.linspace(3, 0.2, 32)).astype(np.float32)
    modes = find_modes(excerpts(40), 4, lambda texts: vectors[[int(t) for t in texts]], seed=seed, n_draws=50)
    assert len(modes) == 1 and modes[0].share == 1 and len(modes[0].windows) == 40
    assert modes[0].choice.p > ALPHA and [t.n_clusters for t in modes[0].choice.tried] == [2, 3, 4]


def test_silhouettes_are_those_of_scikit_learn():
    from sklearn.metrics import silhouette_score

    random = np.random.default_rng(0)
    points = random.standard_normal((4, 20, 3))
    labels = random.integers(0, 3, (4, 20))
    labels[3] = 2
    labels[3, 0] = 0
    found = silhouettes(points, labels, 3)
    assert found == pytest.approx([silhouette_score(p, g) for p, g in zip(points, labels, strict=True)])
    assert silhouettes(points[:1], np.ones((1, 20), np.int64), 3) == [0]


def test_k_means_is_as_good_as_that_of_scikit_learn():
    from sklearn.cluster import KMeans

    random = np.random.default_rng(1)
    points = np.concatenate([random.standard_normal((30, 4)) + 4 * c for c in np.eye(4)[:3]])
    found = cluster(points[None], 3, np.random.default_rng(0)).labels[0]
    best = KMeans(3, n_init=10, random_state=0).fit(points)
    means = np.array([points[found == k].mean(axis=0) for k in range(3)])
    assert ((points - means[found]) ** 2).sum() <= best.inertia_ * (1 + 1e-9)


def test_folded_windows_count_in_the_share():
    modes = find_modes(excerpts(12, folded={0: 6}), 2, embedder([0] * 6 + [1] * 6), seed=0, n_draws=50)
    assert [m.share for m in modes] == [12 / 18, 6 / 18] and 1000 in modes[0].windows


def test_few_or_equal_texts_are_one_mode():
    assert find_modes([], 3, embedder([]), seed=0) == []
    (few,) = find_modes(excerpts(5), 3, embedder([0, 0, 1, 1, 1]), seed=0)
    assert few.choice.p is None and few.choice.tried == () and few.share == 1
    (equal,) = find_modes(excerpts(12), 3, lambda texts: np.ones((len(texts), 8), np.float32), seed=0)
    assert len(equal.windows) == 12
    (asked,) = find_modes(excerpts(12), 1, embedder([0] * 6 + [1] * 6), seed=0)
    assert asked.choice.tried == ()


def test_a_weak_structure_and_a_cluster_of_one_text_are_no_modes():
    """Clusters that overlap widely are told from a Gaussian by many texts, but nobody would see two kinds of text."""
    modes = find_modes(excerpts(150), 3, embedder([i % 2 for i in range(150)], spread=1.9), seed=0)
    assert len(modes) == 1 and modes[0].choice.p < ALPHA
    assert 0 < max(t.silhouette for t in modes[0].choice.tried) < LEAST_SILHOUETTE
    (alone,) = find_modes(excerpts(20), 2, embedder([0] * 19 + [1]), seed=0)
    assert len(alone.windows) == 20


def test_the_seed_decides():
    random = np.random.default_rng(3)
    vectors = random.standard_normal((30, 16)).astype(np.float32)
    one, again, other = (
        find_modes(excerpts(30), 3, lambda texts: vectors[[int(t) for t in texts]], seed=s, n_draws=20)[0].choice
        for s in (1, 1, 2)
    )
    assert one == again and one.tried != other.tried


def test_modes_of_real_evidence_embed_the_last_tokens_up_to_the_peak(tmp_path):
    texts = [record([f" x{i}", " red" if i % 2 else " blue", " z"], [0, 9 - i / 9, 0]) for i in range(12)]
    texts.append(record([" v", " w", " x", " y", " red", " a"], [0, 0, 0, 0, 0.5, 0]))
    seen = []

    def embed(wanted):
        seen.extend(wanted)
        noise = np.random.default_rng(0).standard_normal((len(wanted), 8)) * 0.05
        return np.array([[1, 0] + [0] * 6 if "red" in t else [0, 1] + [0] * 6 for t in wanted], np.float32) + noise

    evidence = NeuronEvidence.open(records_of(tmp_path / "run", texts, texts), AT, EvidenceSettings())
    modes = find_modes(evidence.strongest, 3, embed, seed=0, n_draws=40)
    assert len(modes) == 2 and seen[0] == " x0 blue"
    assert seen[-1] == " w x y red", "three tokens before the peak and none after it"
    assert {e.tokens[e.pos] for e in evidence.within(modes[0].windows).strongest} in ({" red"}, {" blue"})
