"""What a search is restricted to, and what it finds, as plain values. All texts are raw: escape them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.search.names import KINDS, PER_TEXT, By, Kind


@dataclass(frozen=True)
class Scope:
    """Which rows of the run are searched, and how many hits are wanted."""

    kinds: tuple[Kind, ...] = KINDS
    layers: tuple[int, ...] | None = None
    """None: all."""
    k: int = 20
    per_text: int = PER_TEXT
    """Hits of one text: the first neurons that have it."""


EVERYWHERE: Final = Scope()


class Hit(NamedTuple):
    """One explanation, exemplar or written token of a pole of a neuron."""

    at: NeuronPole
    kind: Literal["explanation", "exemplar", "token"]
    text: str
    score: float
    """The cosine (meaning), BM25 (words) or the write score (token); larger is better. A negative pole's write score
    has the other sign than the neuron's: it is the effect of what the pole does."""
    set: str = ""
    id: str = ""
    explainer: str = ""
    """Of an explanation, as `set` and `id`."""
    rank: int | None = None
    """From 1. Of an exemplar: among the pole's strongest windows; of a token: among those that the pole promotes (or
    suppresses)."""
    window: int | None = None
    """Of an exemplar: its number in the corpus."""
    peak: tuple[int, int] | None = None
    """Of an exemplar: where the token of the peak begins and ends in `text`, in characters."""
    value: float | None = None
    """Of an exemplar: the activation at the peak."""
    z: float | None = None
    """Of a token: its score in standard deviations of the neuron's write scores from their mean; None if undefined."""


@dataclass(frozen=True)
class Found:
    """The hits, best first, and what should be known of them, one line each."""

    hits: Sequence[Hit]
    notes: tuple[str, ...] = ()


class Embedder(NamedTuple):
    """The model with which the texts were embedded: a query must be embedded by the same."""

    name: str
    fingerprint: str | None
    """Of the weights; None for a model from the Hub."""
    revision: str | None
    """The commit of a model from the Hub."""
    dimensions: int


@dataclass(frozen=True)
class Contents:
    """What can be searched in a run."""

    n_explanations: int
    n_exemplars: int
    has_index: bool
    embedder: Embedder | None
    """None: no search by meaning."""
    has_tokens: bool
    created_at_utc: str = ""
    """Of the index."""
    notes: tuple[str, ...] = ()
    """What is missing or outdated, each with the command that helps."""


def usual_kinds(by: By, contents: Contents) -> tuple[Kind, ...]:
    """What is searched unless something else is asked for: by meaning explanations alone, if there are any. The meaning
    of a window is not that of the neurons that fire in it (docs/search.md)."""
    return ("explanation",) if by == "meaning" and contents.n_explanations else KINDS
