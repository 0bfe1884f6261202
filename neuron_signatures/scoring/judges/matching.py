"""Marked windows for fuzzing, of which neither the marks alone nor the texts alone say whether the marks are right.

The marks of an active window are its active positions that count. Each window is used twice: once with its own marks,
and once with the marks of another window, none of which is at an active position of it. Both classes have therefore
the same texts, and the same marks by number and position; only whether a text and its marks belong together differs.

Which window gets whose marks is a permutation of the windows: the one that moves the most windows, found as an
assignment. A window that stays (no other one can take its marks or give it some, for instance because the neuron is
active nearly everywhere) is left out of both classes, and the next window takes its place as long as there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.judges.windows import PER_CLASS, Shown, active_windows, is_active, random_of
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

_SHUFFLES = 200
"""Orders that are tried, so that few requests have a window in both forms."""


def marked_examples(texts: NeuronTexts, design: Design, *, per_request: int) -> list[Shown]:
    """Windows with right marks and the same windows with wrong ones, shuffled.

    Where possible, the two forms of a window are in different requests of `per_request` windows.
    """
    random = random_of(texts, design)
    windows = active_windows(texts, random)
    chosen, waiting = windows[:PER_CLASS], windows[PER_CLASS:]
    while True:
        taken = _marks_from(chosen, texts, random)
        stays = {i for i, source in enumerate(taken.tolist()) if source == i}
        if not stays or not waiting:
            break
        chosen = [text for i, text in enumerate(chosen) if i not in stays] + waiting[: len(stays)]
        waiting = waiting[len(stays) :]
    right = [Shown(text, True, _own_marks(text, texts)) for text in chosen]
    pairs = [(right[i], Shown(text, False, right[taken[i]].marks)) for i, text in enumerate(chosen) if i not in stays]
    return _apart([shown for pair in pairs for shown in pair], per_request, random)


def _own_marks(text: Text, texts: NeuronTexts) -> tuple[int, ...]:
    return tuple(np.flatnonzero(is_active(text, texts) & text.counts).tolist())


def _marks_from(
    windows: Sequence[Text], texts: NeuronTexts, random: np.random.Generator
) -> Int64[np.ndarray, " window"]:
    """For each window the one whose marks it takes, itself if it stays: a permutation with the fewest that stay."""
    cost = np.where(_can_take(windows, texts), 0.0, np.inf) + _ties(len(windows), random)
    np.fill_diagonal(cost, 1.0)
    found: np.ndarray = linear_sum_assignment(cost)[1].astype(np.int64) if len(windows) else np.empty(0, np.int64)
    return found


def _can_take(windows: Sequence[Text], texts: NeuronTexts) -> Bool[np.ndarray, "window source"]:
    """Whether a window can take the marks of a source: all at positions that count and are not active."""
    found = np.zeros((len(windows), len(windows)), bool)
    free = [set(np.flatnonzero(~is_active(text, texts) & text.counts).tolist()) for text in windows]
    for j, source in enumerate(windows):
        marks = _own_marks(source, texts)
        found[:, j] = [free_here.issuperset(marks) for free_here in free]
    return found


def _ties(n: int, random: np.random.Generator) -> Float64[np.ndarray, "window source"]:
    """Small costs that choose at random among permutations that move equally many windows."""
    return random.random((n, n)) / (2 * max(n, 1))


def _apart(shown: list[Shown], per_request: int, random: np.random.Generator) -> list[Shown]:
    """The examples in the best of some random orders: the fewest windows twice in a request."""
    best, least = shown, len(shown) + 1
    for _ in range(_SHUFFLES):
        order = [shown[i] for i in random.permutation(len(shown))]
        requests = [order[i : i + per_request] for i in range(0, len(order), per_request)]
        twice = sum(len(request) - len({s.text.window for s in request}) for request in requests)
        if twice < least:
            best, least = order, twice
        if not least:
            break
    return best
