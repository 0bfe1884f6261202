"""Embeds windows of the corpus around a position: what a neuron's strongest windows are about, as unit vectors.

`tokens` needs no model: half of a vector is that of the token at the position, half the mean of the tokens around it,
weighted by tf-idf (`token_vectors`). `minilm` is a sentence embedding of the text around it.

Two contexts are alike if their tokens are *or* if their surroundings are: a neuron that is active at the word " bank"
in any text has one meaning, and so has one that is active at several words about money. So the distance of `tokens` is
the product of both cosine distances; that of `minilm` is the cosine distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Integer

from neuron_signatures.corpus_analysis.token_vectors import TokenVectors, fit_token_vectors, unit_rows
from neuron_signatures.records.corpus.scattered import nearby_tokens
from neuron_signatures.runs.records.corpus import Corpus

if TYPE_CHECKING:
    from neuron_signatures.models.embedding import SentenceEmbedder

Embedding = Literal["tokens", "minilm"]
EMBEDDINGS: Final[tuple[Embedding, ...]] = get_args(Embedding)
_AT_ONCE = 4096


@dataclass(frozen=True)
class ContextSettings:
    """How contexts are embedded. The defaults tell planted neurons apart (scripts/bench_meanings.py)."""

    embedding: Embedding = "tokens"
    before: int = 8
    """Tokens before the position, in the same window ..."""
    after: int = 8
    """... and after it."""
    dimensions: int = 50
    """Of the vectors of tokens (`tokens` only)."""
    seed: int = 0

    def record(self) -> dict[str, Any]:
        return dict(self.__dict__)


@runtime_checkable
class Contexts(Protocol):
    """Embeds positions of windows of one corpus."""

    def embed(
        self, window: Integer[np.ndarray, " entry"], pos: Integer[np.ndarray, " entry"]
    ) -> Float32[np.ndarray, "entry dim"]:
        """Unit vectors, or zeros for a context of which no token has a vector."""
        ...

    def distances(self, a: Float32[np.ndarray, "a dim"], b: Float32[np.ndarray, "b dim"]) -> Float32[np.ndarray, "a b"]:
        """Between embedded contexts, from 0 (alike) to 1 (unrelated or opposite)."""
        ...


def open_contexts(corpus: Corpus, settings: ContextSettings, *, device: str = "auto") -> Contexts:
    """The embedding of a corpus: fitted on its part explain (`tokens`), or loaded (`minilm`).

    Raises `EnvironmentProblem` where MiniLM cannot be had.
    """
    if settings.embedding == "minilm":
        from neuron_signatures.models.embedding import load_embedder

        return SentenceContexts(corpus, settings, load_embedder(device=device))
    vectors = fit_token_vectors(corpus, dimensions=settings.dimensions, seed=settings.seed)
    return TokenContexts(corpus, settings, vectors)


def tokens_around(
    corpus: Corpus,
    window: Integer[np.ndarray, " entry"],
    pos: Integer[np.ndarray, " entry"],
    *,
    before: int,
    after: int,
) -> Int32[np.ndarray, "entry token"]:
    """The tokens of each context, that of the position in column `before`; -1 beyond the ends of the window."""
    steps = np.arange(-before, after + 1)
    window, pos = np.asarray(window, np.int64), np.asarray(pos, np.int64)
    found = np.full((len(window), len(steps)), -1, np.int32)
    for part in nearby_tokens(corpus, window, pos, max(before, after)):
        place = pos[part.members][:, None] + steps
        inside = (place >= 0) & (place < corpus.window_length[part.window][:, None])
        ids = part.tokens.take(part.at[:, None] + steps, mode="clip")
        found[part.members] = np.where(inside, ids, -1)
    return found


@dataclass(frozen=True, eq=False)
class TokenContexts:
    """`embed` concatenates the vector of the token at the position and the weighted mean of those around it, both of
    norm 1/√2."""

    corpus: Corpus
    settings: ContextSettings
    vectors: TokenVectors

    def embed(
        self, window: Integer[np.ndarray, " entry"], pos: Integer[np.ndarray, " entry"]
    ) -> Float32[np.ndarray, "entry dim"]:
        """As `Contexts.embed`."""
        out = np.empty((len(window), 2 * self.vectors.dimensions), np.float32)
        every = tokens_around(self.corpus, window, pos, before=self.settings.before, after=self.settings.after)
        for start in range(0, len(every), _AT_ONCE):
            ids = every[start : start + _AT_ONCE]
            place = self.vectors.place(ids.ravel()).reshape(ids.shape)
            peak = self._sum(place[:, [self.settings.before]], np.ones((1, 1)))
            around = place.copy()
            around[:, self.settings.before] = -1
            both = [unit_rows(peak), unit_rows(self._sum(around, None))]
            out[start : start + len(ids)] = unit_rows(np.concatenate(both, axis=1))
        return out

    def distances(self, a: Float32[np.ndarray, "a dim"], b: Float32[np.ndarray, "b dim"]) -> Float32[np.ndarray, "a b"]:
        """As `Contexts.distances`: the product of the distances of the tokens and of their surroundings."""
        half = self.vectors.dimensions
        found = _cosine_distances(a[:, :half], b[:, :half])
        found *= _cosine_distances(a[:, half:], b[:, half:])
        return found

    def _sum(self, place: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        known = place >= 0
        if not len(self.vectors.ids):
            return np.zeros((len(place), self.vectors.dimensions))
        at = np.maximum(place, 0)
        weights = np.where(known, self.vectors.idf[at] if weight is None else weight, 0.0)
        found: np.ndarray = np.einsum("ep,epd->ed", weights, self.vectors.vectors[at], optimize=True)
        return found


@dataclass(frozen=True, eq=False)
class SentenceContexts:
    """The text of the tokens around a position, by a model of sentence embeddings."""

    corpus: Corpus
    settings: ContextSettings
    embedder: SentenceEmbedder

    def embed(
        self, window: Integer[np.ndarray, " entry"], pos: Integer[np.ndarray, " entry"]
    ) -> Float32[np.ndarray, "entry dim"]:
        """As `Contexts.embed`."""
        every = tokens_around(self.corpus, window, pos, before=self.settings.before, after=self.settings.after)
        texts = ["".join(self.corpus.strings(ids[ids >= 0])) for ids in every]
        return self.embedder.embed(texts)

    def distances(self, a: Float32[np.ndarray, "a dim"], b: Float32[np.ndarray, "b dim"]) -> Float32[np.ndarray, "a b"]:
        """As `Contexts.distances`: the cosine distance."""
        return _cosine_distances(a, b)


def _cosine_distances(a: np.ndarray, b: np.ndarray) -> Float32[np.ndarray, "a b"]:
    """1 less the cosine, between 0 and 1; 1 for rows of zeros."""
    found: np.ndarray = 1 - np.clip(unit_rows(a) @ unit_rows(b).T, 0, 1)
    return found.astype(np.float32)
