"""What the records of a small corpus must be, computed from all activations by the definitions, in plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

N_PARTS = 3  # explain, select, report
SIGNS = (1.0, -1.0)  # the poles + and -


@dataclass(frozen=True)
class OracleWindow:
    """A window of a corpus, with the activations of all neurons of one layer."""

    window: int
    document: int
    part: int
    token_ids: tuple[int, ...]
    acts: np.ndarray
    """float32, axes `pos neuron`, one row per text token."""
    counted_from: int


class Lists(NamedTuple):
    """Axes `neuron part pole rank`; window -1, value and pos 0 where there is no entry."""

    value: np.ndarray
    window: np.ndarray
    pos: np.ndarray


class OracleMoments(NamedTuple):
    """Axes `neuron part`; central moments are averages. Zeros for no values."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray


class _Candidate(NamedTuple):
    strength: float
    window: int
    pos: int
    value: float
    context: tuple


def finite_windows(windows: Sequence[OracleWindow]) -> list[OracleWindow]:
    """The windows without those that have a value that is not finite at a position that counts."""
    return [w for w in windows if np.isfinite(w.acts[w.counted_from :]).all()]


def of_neurons(windows: Sequence[OracleWindow], neurons: Sequence[int]) -> list[OracleWindow]:
    """The same windows with some neurons only."""
    return [replace(w, acts=w.acts[:, list(neurons)]) for w in windows]


def strongest_lists(windows: Sequence[OracleWindow], *, top_k: int, context: int = 8) -> Lists:
    """Per neuron, part and pole: the strongest position of each document (the earliest of equals), then the strongest
    per context (the earliest of equals), then the `top_k` strongest, ties by window."""
    n = windows[0].acts.shape[1]
    shape = (n, N_PARTS, len(SIGNS), top_k)
    out = Lists(np.zeros(shape, np.float32), np.full(shape, -1, np.int32), np.zeros(shape, np.int16))
    ordered = sorted(windows, key=lambda w: w.window)
    for neuron in range(n):
        for part in range(N_PARTS):
            members = [w for w in ordered if w.part == part]
            for pole, sign in enumerate(SIGNS):
                for rank, c in enumerate(_list(members, neuron, sign, context)[:top_k]):
                    at = (neuron, part, pole, rank)
                    out.value[at], out.window[at], out.pos[at] = c.value, c.window, c.pos
    return out


def _list(windows: Sequence[OracleWindow], neuron: int, sign: float, context: int) -> list[_Candidate]:
    documents: dict[int, _Candidate] = {}
    for w in windows:
        acts = w.acts[:, neuron]
        best = max(range(w.counted_from, len(acts)), key=lambda p: (sign * float(acts[p]), -p), default=None)
        if best is None:
            continue
        strength = sign * float(acts[best])
        if w.document not in documents or strength > documents[w.document].strength:
            left = max(0, best - context)
            around = (best - left, w.token_ids[left : best + context + 1])
            documents[w.document] = _Candidate(strength, w.window, best, float(acts[best]), around)
    contexts: dict[tuple, _Candidate] = {}
    for c in sorted(documents.values(), key=lambda c: (-c.strength, c.window)):
        contexts.setdefault(c.context, c)
    return list(contexts.values())


def moments(windows: Sequence[OracleWindow]) -> OracleMoments:
    """In float64, from all values of a part at once."""
    n = windows[0].acts.shape[1]
    out = OracleMoments(np.zeros((n, N_PARTS), np.int64), *(np.zeros((n, N_PARTS)) for _ in range(4)))
    for part in range(N_PARTS):
        values = [w.acts[w.counted_from :] for w in windows if w.part == part]
        x = np.concatenate(values).astype(np.float64) if values else np.empty((0, n))
        out.count[:, part] = len(x)
        if len(x):
            out.mean[:, part] = x.mean(axis=0)
            for k, array in ((2, out.m2), (3, out.m3), (4, out.m4)):
                array[:, part] = ((x - x.mean(axis=0)) ** k).mean(axis=0)
    return out


def histograms(windows: Sequence[OracleWindow], edges: np.ndarray, chosen: set[int]) -> np.ndarray:
    """Counts, axes `neuron part bin`, of the windows whose numbers are in `chosen`.

    Bin j of the magnitudes holds edges[j] <= |x| < edges[j+1], the last one everything from its edge on. Values from 0
    on (0 and -0 too) are in column b + j, values below 0 in column b - 1 - j.
    """
    b, n = len(edges), windows[0].acts.shape[1]
    limits = [float(e) for e in edges] + [math.inf]
    counts = np.zeros((n, N_PARTS, 2 * b), np.uint32)
    for w in windows:
        if w.window not in chosen:
            continue
        for row in w.acts[w.counted_from :]:
            for neuron, x in enumerate(row.tolist()):
                j = next(j for j in range(b) if limits[j] <= abs(x) < limits[j + 1])
                counts[neuron, w.part, b + j if x >= 0 else b - 1 - j] += 1
    return counts
