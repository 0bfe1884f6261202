"""The simulator `embedding`: how alike the explanation and the last tokens up to a position are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

CONTEXT = 5
"""Tokens up to a position that are compared with the explanation."""
MOST_SAID = 10_000
"""Embeddings of explanations that are kept: each is also the null of other neurons."""
MOST_KEPT = 100_000
"""Embeddings of contexts that are kept between calls (150 MB of 384 dimensions), unless one call needs more."""


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors."""

    def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> Float[np.ndarray, "text dim"]: ...


class EmbeddingSimulator:
    """Per token: the cosine of the explanation and the last five tokens up to it. Of a rule its n-grams are the text.

    Equal contexts are embedded once, also between calls: the neurons of a run share the windows of its sample. It
    cannot predict from an empty text.
    """

    name = "embedding"
    lowest: float | None = -1.0
    highest: float | None = 1.0

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._places: dict[str, int] = {}
        self._held: np.ndarray | None = None
        self._said: dict[str, np.ndarray] = {}

    def settings(self) -> dict[str, Any]:
        """The model, by its name and the fingerprint of its weights where it has them."""
        return {f"embedder_{key}": getattr(self._embedder, key, None) for key in ("name", "fingerprint")}

    def simulate(self, said: Said, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]] | None:
        return self._cosines(said, [_contexts(text.tokens) for text in texts])

    def of_windows(self, said: Said, texts: Sequence[Text]) -> Float32[np.ndarray, " window"] | None:
        """The cosine of the explanation and each whole window; None if it cannot predict."""
        found = self._cosines(said, [["".join(text.tokens)] for text in texts])
        return None if found is None else np.concatenate([np.empty(0, np.float32), *found])

    def _cosines(self, said: Said, contexts: list[list[str]]) -> list[Float32[np.ndarray, " pos"]] | None:
        if not said.shortest.strip():
            return None
        held = self._embed(list(dict.fromkeys(context for of_text in contexts for context in of_text)))
        cosines = np.clip(held @ self._vector(_encodable(said.shortest)), -1, 1).astype(np.float32)
        return [cosines[[self._places[context] for context in of_text]] for of_text in contexts]

    def _vector(self, said: str) -> Float32[np.ndarray, " dim"]:
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        if said not in self._said:
            self._said[said] = self._embedder.embed([said])[0]
        return self._said[said]

    def _embed(self, contexts: list[str]) -> Float32[np.ndarray, "context dim"]:
        """All embeddings that are kept, among them those of the contexts; `_places` says which are whose."""
        new = [context for context in contexts if context not in self._places]
        if len(self._places) + len(new) > MOST_KEPT:
            self._places, self._held, new = {}, None, contexts
        if new:
            vectors = self._embedder.embed([_encodable(c) for c in new])
            self._places |= {context: len(self._places) + i for i, context in enumerate(new)}
            self._held = vectors if self._held is None else np.concatenate([self._held, vectors])
        return np.empty((0, 1), np.float32) if self._held is None else self._held


def _contexts(tokens: Sequence[str]) -> list[str]:
    return ["".join(tokens[max(0, pos + 1 - CONTEXT) : pos + 1]) for pos in range(len(tokens))]


def _encodable(text: str) -> str:
    """Without unpaired surrogates, which a tokenizer refuses; never empty."""
    return text.encode("utf-8", "replace").decode("utf-8") or " "
