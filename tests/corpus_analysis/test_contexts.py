"""Embedding of contexts: vectors of tokens against brute force, and what their distances mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from corpora import Texts, build

from neuron_signatures.corpus_analysis import token_vectors
from neuron_signatures.corpus_analysis.contexts import ContextSettings, open_contexts
from neuron_signatures.corpus_analysis.token_vectors import fit_token_vectors
from neuron_signatures.runs.records.corpus import Corpus

TEXTS = ["ab cab abc", "cat sat mat", "xyz zyx yxz", "cat cab"] * 3
EVERYTHING = {"parts": (100, 0, 0)}


def open_corpus(folder: Path, texts: list[str], **settings: object) -> Corpus:
    build(folder, Texts([f"{i} {text}" for i, text in enumerate(texts)]), **{**EVERYTHING, **settings})
    return Corpus.open(folder)


def test_vectors_are_singular_vectors_of_the_information_of_neighbours(tmp_path: Path) -> None:
    with open_corpus(tmp_path, TEXTS, sequence_length=12) as corpus:
        rows = [corpus.token_ids(w).tolist() for w in range(corpus.n_windows)]
        ids = sorted({i for row in rows for i in row})
        found = fit_token_vectors(corpus, dimensions=3, seed=0)
    assert found.ids.tolist() == ids
    counts = np.zeros((len(ids), len(ids)))
    for row in rows:
        for i, token in enumerate(row):
            for j in range(max(0, i - token_vectors.SPAN), min(len(row), i + token_vectors.SPAN + 1)):
                if i != j:
                    counts[ids.index(token), ids.index(row[j])] += 1
    share = counts.sum(0) ** 0.75 / (counts.sum(0) ** 0.75).sum()
    with np.errstate(divide="ignore"):
        information = np.maximum(np.log(counts / counts.sum(1, keepdims=True) / share), 0)
    left, values, _ = np.linalg.svd(information)
    wanted = left[:, :3] * np.sqrt(values[:3])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, wanted @ wanted.T, atol=1e-4)
    n_with = np.array([sum(i in row for row in rows) for i in ids])
    np.testing.assert_allclose(found.idf, np.log((1 + len(rows)) / (1 + n_with)), rtol=1e-6)


def test_contexts_are_alike_if_tokens_or_surroundings_are(tmp_path: Path) -> None:
    texts = ["abcqdef", "abcrdef", "uvwqxyz", "mnoptsk"]
    with open_corpus(tmp_path, texts, sequence_length=16) as corpus:
        at = [2 + 3] * 4  # after the number and a space
        contexts = open_contexts(corpus, ContextSettings(before=3, after=3, dimensions=20))
        found = contexts.embed(np.arange(4), np.array(at))
        far = contexts.distances(found, found)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.diag(far), 0, atol=1e-5)
    assert far[0, 2] < 1e-5  # the same token
    assert far[0, 1] < 1e-5  # the same surroundings
    assert far[0, 3] > 0.5
    assert far[1, 2] > 0.5


def test_an_embedding_ends_with_its_window(tmp_path: Path) -> None:
    with open_corpus(tmp_path, ["abcdefghijkl", "bdfhjlacegik"], sequence_length=8) as corpus:
        assert int(corpus.window_length[0]) == 8
        far, near, nearer = (
            open_contexts(corpus, ContextSettings(before=2, after=n, dimensions=20)).embed(np.array([0]), np.array([5]))
            for n in (8, 2, 1)
        )
    np.testing.assert_allclose(far, near, atol=1e-6)
    assert not np.allclose(near, nearer)


def test_a_corpus_of_one_token_has_finite_vectors(tmp_path: Path) -> None:
    build(tmp_path, Texts(["aaaa"]), **EVERYTHING)
    with Corpus.open(tmp_path) as corpus:
        found = open_contexts(corpus, ContextSettings()).embed(np.array([0]), np.array([0]))
    assert np.isfinite(found).all()
