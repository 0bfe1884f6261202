"""True and simulated activations of the same tokens: the stored windows of a scored explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import PARTS, NeuronPole, Part
from neuron_signatures.runs.records.windows import Pick, Window, text_window
from neuron_signatures.runs.scores.line import ScoreLine, StoredMistake, StoredWindow
from neuron_signatures.runs.scores.names import SampleName

if TYPE_CHECKING:
    from jaxtyping import Float64

    from neuron_signatures.runs.records.reader import Records

SIGN = {"+": 1, "-": -1}
NO_RECORDS = "the run has no records of the corpus, so its texts and activations are not known"


@dataclass(frozen=True, eq=False)
class AlignedWindow:
    """A window, or a part of it, with what the neuron did and what was predicted, token by token.

    Shares have the sign of the activation: for a negative pole, -1 is the strongest. Those of the truth are of the
    largest activation of the pole in the corpus, those of the prediction of the largest prediction of all windows of
    the explanation.
    """

    window: int
    sample: SampleName
    status: Status
    reason: str
    """Why the request failed, raw; empty if it did not."""
    problem: str
    """What the records lack; empty if they have the text and the activations."""
    part: Part | None
    document_name: str
    """Raw."""
    tokens: tuple[str, ...]
    """Raw; empty if the records have no such window."""
    first: int
    """The position in the window of the first token."""
    counted_from: int
    """The first of `tokens` that counts; those before are context."""
    true: Float64[np.ndarray, " pos"] | None
    """The activation with its sign; None if it is not stored."""
    true_shares: Float64[np.ndarray, " pos"] | None
    predicted: Float64[np.ndarray, " pos"] | None
    """As the simulator said it; None if the request failed."""
    predicted_shares: Float64[np.ndarray, " pos"] | None
    mistakes: tuple[StoredMistake, ...]
    """Those in the shown tokens; `pos` is that in the window."""


def aligned_windows(records: Records | None, line: ScoreLine, at: NeuronPole) -> list[AlignedWindow]:
    """The stored windows of a line in its order; empty if its scorer predicts no activations.

    A window that the records lack has no tokens, and says so. Raises `BadRunError` for damaged records.
    """
    wanted = sorted({w.window for w in line.windows})
    acts = {} if records is None else stored_acts(records, at, wanted)
    largest = _largest_of(records, at, acts)
    most = _most(line.windows)
    return [_aligned(records, w, acts, at, largest, most, line.mistakes) for w in line.windows]


def stored_acts(records: Records, at: NeuronPole, windows: Sequence[int]) -> Mapping[int, np.ndarray]:
    """The activations in these windows that are stored: of the uniform sample, and of the strongest windows."""
    if not records.holds(at.layer, at.neuron) or not records.sampled(at.layer, at.neuron):
        return {}
    sample, found = records.sample(at.layer, at.neuron), dict[int, np.ndarray]()
    place = {int(w): i for i, w in enumerate(sample.windows)}
    found |= {w: sample.acts_of(place[w]) for w in windows if w in place}
    missing = {w for w in windows if w not in found}
    for part in PARTS if missing else ():
        strongest = records.strongest(*at, parts=(part,))
        found |= {w.window: w.acts for w in strongest if w.window in missing and w.acts is not None}
    return found


def text_of_window(records: Records, window: int) -> Window | None:
    """The text of a window by its number; None if the records have no such window."""
    if not 0 <= window < records.corpus.meta.n_windows:
        return None
    return text_window(records.corpus, Pick(window))


def _aligned(
    records: Records | None, w: StoredWindow, acts: Mapping[int, np.ndarray], at: NeuronPole, largest: float,
    most: float, mistakes: Sequence[StoredMistake],
) -> AlignedWindow:  # fmt: skip
    text = None if records is None else text_of_window(records, w.window)
    n = None if text is None else len(text.tokens) - w.first
    if text is None or n is None or n <= 0 or (w.values is not None and len(w.values) > n):
        why = NO_RECORDS if records is None else "the records have no such window; were they made again?"
        return AlignedWindow(
            w.window, w.sample, w.status, w.reason, why, None, "", (), w.first, 0, None, None, None, None, ()
        )
    part = slice(w.first, w.first + (n if w.values is None else len(w.values)))
    row = acts.get(w.window)
    true = None if row is None else np.asarray(row[part], np.float64)
    predicted = None if w.values is None else np.array(w.values, np.float64)
    return AlignedWindow(
        window=w.window, sample=w.sample, status=w.status, reason=w.reason,
        problem="" if true is not None else "the records do not keep the activations of this neuron here",
        part=text.part, document_name=text.document_name, tokens=text.tokens[part], first=w.first,
        counted_from=min(max(text.counted_from - w.first, 0), part.stop - part.start), true=true,
        true_shares=None if true is None else _shares(true, largest), predicted=predicted,
        predicted_shares=None if predicted is None else SIGN[at.pole] * _shares(predicted, most),
        mistakes=tuple(m for m in mistakes if m.window == w.window and part.start <= m.pos < part.stop),
    )  # fmt: skip


def _largest_of(records: Records | None, at: NeuronPole, acts: Mapping[int, np.ndarray]) -> float:
    """The magnitude of the strongest activation of the pole; if none has its sign, the largest in the windows."""
    if records is None or not records.holds(at.layer, at.neuron):
        return 0.0
    strongest = records.strongest(*at, k=1, rows=False)
    value = (strongest[0].value or 0.0) * SIGN[at.pole] if strongest else 0.0
    return value if value > 0 else max((float(np.abs(a).max(initial=0.0)) for a in acts.values()), default=0.0)


def _most(windows: Sequence[StoredWindow]) -> float:
    """The largest prediction; if none is positive, the largest magnitude."""
    values = np.array([v for w in windows for v in w.values or ()])
    most = float(values.max(initial=0.0))
    return most if most > 0 else float(np.abs(values).max(initial=0.0))


def _shares(values: np.ndarray, full: float) -> np.ndarray:
    return values / full if full > 0 else np.zeros_like(values)
