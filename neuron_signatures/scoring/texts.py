"""The texts that explanations are made from and scored on, with the activations of one pole of a neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from neuron_signatures.runs.records.names import PARTS, NeuronPole, Part, Pole
from neuron_signatures.runs.records.windows import Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from neuron_signatures.runs.records.corpus import Corpus
    from neuron_signatures.runs.records.reader import Records

SIGN = {"+": 1, "-": -1}


@dataclass(frozen=True, eq=False)
class Text:
    """A window of the corpus. `acts` are those of the pole: positive where the neuron has the pole's sign."""

    window: int
    document: int
    tokens: tuple[str, ...]
    acts: Float32[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]
    """Whether a position counts; others are context."""
    token_ids: tuple[int, ...] = ()
    """Of the tokenizer of the subject; empty where only strings are known."""
    first: int = 0
    """The position in the window of the first token: above 0 where only a part of the window is shown."""

    @property
    def peak(self) -> float:
        """The largest activation at a position that counts."""
        return float(self.acts[self.counts].max())

    @property
    def peak_pos(self) -> int:
        return int(np.argmax(np.where(self.counts, self.acts, -np.inf)))


def text_of(window: Window, pole: Pole) -> Text:
    """The text of a window whose activations are stored."""
    assert window.acts is not None
    counts = np.arange(len(window.tokens)) >= window.counted_from
    acts = np.asarray(SIGN[pole] * window.acts, np.float32)
    return Text(window.window, window.document, window.tokens, acts, counts, tuple(window.token_ids))


def strongest_texts(
    records: Records, at: NeuronPole, *, parts: Sequence[Part] = ("explain",), k: int | None = None
) -> list[Text]:
    """The strongest windows of the pole, strongest first; those whose activations are stored, and have its sign."""
    windows = records.strongest(*at, parts=parts, k=k)
    texts = [text_of(w, at.pole) for w in windows if w.acts is not None]
    return [t for t in texts if t.peak > 0]


def uniform_texts(records: Records, at: NeuronPole, *, parts: Sequence[Part] = PARTS) -> list[Text]:
    """All windows of the uniform sample, in corpus order. Raises `UsageError` if the neuron is not in the sample."""
    sample = records.sample(at.layer, at.neuron, parts=parts)
    acts = np.asarray(SIGN[at.pole] * sample.acts, np.float32)
    starts = sample.starts.tolist()
    frames = _frames(records.corpus, sample.windows.tolist())
    return [
        Text(f.window, f.document, f.tokens, acts[a:b], f.counts, f.token_ids)
        for f, a, b in zip(frames, starts[:-1], starts[1:], strict=True)
    ]


class _Frame(NamedTuple):
    """What a window is for every neuron."""

    window: int
    document: int
    tokens: tuple[str, ...]
    counts: Bool[np.ndarray, " pos"]
    token_ids: tuple[int, ...]


_KEPT: WeakKeyDictionary[Corpus, dict[int, _Frame]] = WeakKeyDictionary()
_MOST_KEPT = 20_000
"""Windows that are kept for the next neuron (about 100 MB of 128 tokens each), unless one neuron needs more."""


def _frames(corpus: Corpus, windows: Sequence[int]) -> list[_Frame]:
    """Windows of the sample, which the neurons of a run share."""
    kept = _KEPT.setdefault(corpus, {})
    if len(kept) > max(_MOST_KEPT, len(windows)):
        kept.clear()
    return [kept.get(window) or kept.setdefault(window, _frame(corpus, window)) for window in windows]


def _frame(corpus: Corpus, window: int) -> _Frame:
    """The name of its document, which takes longest to read, is not needed."""
    ids = tuple(corpus.token_ids(window).tolist())
    tokens = tuple(corpus.strings(ids))
    counts = np.arange(len(tokens)) >= corpus.window_counted_from[window]
    return _Frame(window, int(corpus.window_document[window]), tokens, counts, ids)
