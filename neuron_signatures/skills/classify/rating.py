"""One rating of one pair, as the table `classifications` holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.skills.columns import CLASSIFICATIONS
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.scoring.asking import Failed
from neuron_signatures.skills.classify.answers import Said
from neuron_signatures.skills.classify.items import Pair

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Rating:
    """`answer` is empty for raters with a number and for failed answers."""

    pair: Pair
    rater: str
    sample: int = 0
    answer: str = ""
    confidence: float | None = None
    status: str = "ok"
    reason: str = ""

    def row(self) -> dict[str, Any]:
        pair = self.pair
        return {
            **pair.unit.unit.row(), "class": pair.name, "own_class": pair.unit.own_class or "",
            "control": "other" if pair.is_control else "own",
            "of_unit": pair.of.unit.label if pair.is_control else "", "explanation": pair.of.explanation,
            "rater": self.rater, "sample": self.sample, "answer": self.answer, "confidence": self.confidence,
            "status": self.status, "reason": encodable(self.reason)[:300],
        }  # fmt: skip


def rated(pair: Pair, rater: str, sample: int, found: Said | Failed) -> Rating:
    """What a model said about a pair."""
    if isinstance(found, Failed):
        return Rating(pair, rater, sample, status=found.status, reason=found.reason)
    return Rating(pair, rater, sample, found.verdict, found.confidence)


def ratings_frame(ratings: Sequence[Rating]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([r.row() for r in ratings], columns=list(CLASSIFICATIONS))
