"""The positions of both sides in one part of the corpus, and the sample of them that is compared.

Positions of a document are not independent, so a document gives one position to one side. A document that has positions
of both sides goes to the side that has fewer documents of its own.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from neuron_signatures.corpus_analysis.contrast.grammar import PositionSet
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part

Unit = Literal["document", "window"]


class Places(NamedTuple):
    """Positions of windows."""

    window: Int64[np.ndarray, " place"]
    pos: Int64[np.ndarray, " place"]


class Sampled(NamedTuple):
    """The sample of a side, and what it was drawn from."""

    places: Places
    n_positions: int
    n_units: int
    """Documents (or windows) with a position of this side."""
    n_repeated: int
    """Positions left out because the same tokens, from the start of the window, are in the sample already."""


def find_sides(corpus: Corpus, a: PositionSet, b: PositionSet, part: Part) -> tuple[Places, Places]:
    """All counted positions of both sides. Raises `UsageError` if they have positions in common."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    n_common, names = 0, dict[int, str]()
    needs_names = a.documents != "*" or b.documents != "*"
    for window in np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index(part)).tolist():
        document = int(corpus.window_document[window])
        if needs_names and document not in names:
            names = {document: corpus.document(document).name}
        name = names.get(document, "")
        tokens = tuple(corpus.strings(corpus.token_ids(window)))
        counts = np.arange(len(tokens)) >= corpus.window_counted_from[window]
        in_a, in_b = _in(a, name, tokens, counts), _in(b, name, tokens, counts)
        if b.kind == "rest":
            in_b &= ~in_a
        n_common += int((in_a & in_b).sum())
        for side, held in zip(found, (in_a, in_b), strict=True):
            at = np.flatnonzero(held)
            side.append(np.stack([np.full(len(at), window), at]))
    sides = [np.concatenate([np.empty((2, 0), np.int64), *side], axis=1).astype(np.int64) for side in found]
    if n_common:
        what = f"{n_common} positions of {part} are in both sides (A has {sides[0].shape[1]}, B {sides[1].shape[1]})"
        raise UsageError(what, where="--b", next_step="Change one side, or use --b rest")
    return Places(*sides[0]), Places(*sides[1])


def sample_sides(
    corpus: Corpus, a: Places, b: Places, *, unit: Unit, most: int, rng: np.random.Generator
) -> tuple[Sampled, Sampled]:
    """At most `most` positions of each side, one of each unit, of units that are on one side only."""
    of_a, of_b = (_units(corpus, side, unit) for side in (a, b))
    own_a, own_b = np.setdiff1d(of_a, of_b), np.setdiff1d(of_b, of_a)
    both = rng.permutation(np.intersect1d(of_a, of_b))
    n_to_a = int(np.clip((len(own_b) + len(both) - len(own_a) + 1) // 2, 0, len(both)))
    return (
        _sample(corpus, a, of_a, np.concatenate([own_a, both[:n_to_a]]), most, rng),
        _sample(corpus, b, of_b, np.concatenate([own_b, both[n_to_a:]]), most, rng),
    )


def _in(
    side: PositionSet, name: str, tokens: tuple[str, ...], counts: Bool[np.ndarray, " pos"]
) -> Bool[np.ndarray, " pos"]:  # fmt: skip
    return side.holds(tokens) & counts if side.has_document(name) else np.zeros(len(tokens), bool)


def _units(corpus: Corpus, side: Places, unit: Unit) -> Int64[np.ndarray, " place"]:
    return corpus.window_document[side.window].astype(np.int64) if unit == "document" else side.window


def _sample(
    corpus: Corpus, side: Places, units: Int64[np.ndarray, " place"], allowed: Int64[np.ndarray, " unit"], most: int,
    rng: np.random.Generator,
) -> Sampled:  # fmt: skip
    """Units in random order, and of each a random one of the positions whose text is new."""
    known, place = np.unique(units, return_inverse=True)
    order = np.lexsort((rng.permutation(len(units)), rng.permutation(len(known))[place]))
    free, seen, chosen, n_repeated = set(allowed.tolist()), set[bytes](), list[int](), 0
    for at in order.tolist():
        if len(chosen) >= most:
            break
        if int(units[at]) not in free:
            continue
        text = corpus.token_ids(int(side.window[at]))[: int(side.pos[at]) + 1].tobytes()
        if text in seen:
            n_repeated += 1
            continue
        seen.add(text)
        free.remove(int(units[at]))
        chosen.append(at)
    kept = np.sort(np.array(chosen, np.int64))
    return Sampled(Places(side.window[kept], side.pos[kept]), len(units), len(known), n_repeated)
