"""Where an explanation predicts worst, with the text around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.views.records.passages import AROUND
from neuron_signatures.views.scores.windows import text_of_window

if TYPE_CHECKING:
    from neuron_signatures.runs.records.reader import Records


@dataclass(frozen=True)
class ShownMistake:
    """A position at which the prediction is far from the truth. Texts are raw."""

    at: NeuronPole
    explanation_id: str
    window: int
    pos: int
    predicted: float
    """Share of the largest prediction."""
    actual: float
    """Share of the largest activation."""
    part: Part | None
    document_name: str
    tokens: tuple[str, ...]
    """Of the whole window; empty if the records lack it."""

    @property
    def kind(self) -> str:
        return "predicted too much" if self.predicted > self.actual else "predicted too little"

    @property
    def size(self) -> float:
        """How far the shares are apart, from 0 to about 1."""
        return abs(self.predicted - self.actual)

    @property
    def token(self) -> str:
        return self.tokens[self.pos] if self.pos < len(self.tokens) else ""

    @property
    def before(self) -> tuple[str, ...]:
        """Some tokens before it."""
        return self.tokens[max(self.pos - AROUND, 0) : self.pos]

    @property
    def after(self) -> tuple[str, ...]:
        return self.tokens[self.pos + 1 : self.pos + 1 + AROUND]


def shown_mistakes(records: Records | None, line: ScoreLine) -> list[ShownMistake]:
    """The mistakes of a line, the largest first. Raises `BadRunError` for damaged records."""
    found = []
    for m in line.mistakes:
        text = None if records is None else text_of_window(records, m.window)
        known = text is not None and m.pos < len(text.tokens)
        found.append(ShownMistake(
            at=line.at, explanation_id=line.explanation, window=m.window, pos=m.pos, predicted=m.predicted,
            actual=m.actual, part=text.part if text is not None and known else None,
            document_name=text.document_name if text is not None and known else "",
            tokens=text.tokens if text is not None and known else (),
        ))  # fmt: skip
    return sorted(found, key=lambda m: -m.size)


def worst_of_each_kind(found: Sequence[ShownMistake], n: int) -> list[ShownMistake]:
    """At most `n` of those predicted too much, then of those predicted too little; the largest first."""
    kinds = [[m for m in found if (m.predicted > m.actual) == too_much] for too_much in (True, False)]
    return [m for some in kinds for m in some[:n]]
