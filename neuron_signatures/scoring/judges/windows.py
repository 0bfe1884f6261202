"""Which windows a judge is shown: active ones over the whole range of activations, and as many that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.scoring.design import Design, NeuronTexts
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Bool

PER_CLASS = 10
"""Active windows of a neuron that are shown, and as many others, if there are so many."""
_POLES = "+-"
_SPLITS = "report", "select"


@dataclass(frozen=True, eq=False)
class Shown:
    """A window as a judge sees it. `label`: whether the true answer is yes. `marks` are positions."""

    text: Text
    label: bool
    marks: tuple[int, ...] = ()


def random_of(texts: NeuronTexts, design: Design) -> np.random.Generator:
    """A generator that depends on the seed, the neuron, the pole and the split alone."""
    at = texts.at
    return np.random.default_rng(
        [design.seed, at.layer, at.neuron, _POLES.index(at.pole), _SPLITS.index(design.split)]
    )  # fmt: skip


def is_active(text: Text, texts: NeuronTexts) -> Bool[np.ndarray, " pos"]:
    """Where the neuron is active, also at positions that do not count."""
    found: np.ndarray = text.acts > max(texts.threshold, 0)
    return found


def active_windows(texts: NeuronTexts, random: np.random.Generator) -> list[Text]:
    """All windows with an active position that counts, in the order in which they are to be used.

    Strongest windows and active ones of the uniform sample take turns, beginning with the strongest. Those of the
    sample are ordered so that any number of first ones is spread over their ranks by activation.
    """
    top = _active_of(texts.scored.get("top", ()), texts)
    taken = {text.window for text in top}
    sample = [t for g in ("uniform", "random") for t in _active_of(texts.scored.get(g, ()), texts)]
    rest = list({text.window: text for text in sample if text.window not in taken}.values())
    rest.sort(key=lambda text: (-text.peak, text.window))
    spread = [rest[i] for i in _spread(len(rest), random)]
    n = min(len(top), len(spread))
    turns = [text for pair in zip(top, spread, strict=False) for text in pair]
    return [*turns, *top[n:], *spread[n:]]


def silent_windows(texts: NeuronTexts, random: np.random.Generator) -> list[Text]:
    """The windows of the uniform sample without an active position, in random order.

    A window that is active only at positions that do not count is neither active nor silent, except at its first
    token, where many models have massive activations in any text.
    """
    windows = {t.window: t for g in ("uniform", "random") for t in texts.scored.get(g, ())}
    silent = [text for _, text in sorted(windows.items()) if not is_active(text, texts)[_seen(text)].any()]
    return [silent[i] for i in random.permutation(len(silent))]


def plain_examples(texts: NeuronTexts, design: Design) -> list[Shown]:
    """Active and silent windows, as many of each, shuffled."""
    random = random_of(texts, design)
    active, silent = active_windows(texts, random), silent_windows(texts, random)
    n = min(PER_CLASS, len(active), len(silent))
    found = [*(Shown(t, True) for t in active[:n]), *(Shown(t, False) for t in silent[:n])]
    return [found[i] for i in random.permutation(len(found))]


def enough(shown: Sequence[Shown], design: Design) -> bool:
    """Whether there are enough of both classes for a score."""
    n_positive = sum(s.label for s in shown)
    return min(n_positive, len(shown) - n_positive) >= max(design.min_positives, 1)


def _active_of(windows: Sequence[Text], texts: NeuronTexts) -> list[Text]:
    return [text for text in windows if is_active(text, texts)[text.counts].any()]


def _seen(text: Text) -> Bool[np.ndarray, " pos"]:
    """All positions, but not a first one that does not count."""
    seen = np.ones(len(text.tokens), bool)
    seen[0] = text.counts[0]
    return seen


def _spread(n: int, random: np.random.Generator) -> list[int]:
    """The numbers below n, of which the first ones, however many, are spread evenly: ranks of the multiples of the
    golden ratio modulo 1, from a random beginning."""
    keys = (random.random() + np.arange(n) * (5**0.5 - 1) / 2) % 1
    return [int(i) for i in np.argsort(np.argsort(keys, kind="stable"), kind="stable")] if n else []
