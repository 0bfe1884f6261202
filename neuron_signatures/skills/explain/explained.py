"""One explanation of one unit, as the table `unit_explanations` holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from neuron_signatures.runs.skills.columns import UNIT_EXPLANATIONS
from neuron_signatures.runs.skills.units import Unit
from neuron_signatures.runs.tokens import encodable

if TYPE_CHECKING:
    import pandas as pd

Origin = Literal["file", "run", "neuronpedia"]
ORIGINS: Final[tuple[Origin, ...]] = ("file", "run", "neuronpedia")
"""The first that has an explanation of a unit comes first in its rows."""
MAX_TEXT: Final = 4000
"""Characters of an explanation that are stored: tables refuse cells of more than 64 KiB."""
MAX_LABEL: Final = 500


@dataclass(frozen=True)
class Explained:
    """An explanation (`status` is `ok`), or why there is none."""

    unit: Unit
    text: str
    by: str
    """Who wrote it, as the origin says."""
    origin: Origin
    where: str
    """Address, file name, or set and id."""
    retrieved_at: str
    status: str = "ok"
    reason: str = ""
    score: float | None = None
    score_name: str = ""

    def row(self) -> dict[str, Any]:
        """With texts that Parquet can hold."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("unit", "text")}
        bounded = {k: encodable(v)[:MAX_LABEL] if isinstance(v, str) else v for k, v in fields.items()}
        return {**self.unit.row(), "explanation": encodable(self.text)[:MAX_TEXT], **bounded}


def nothing_known(unit: Unit, origins: Sequence[Origin]) -> Explained:
    """The row of a unit that no origin knows."""
    return Explained(unit, "", "", origins[-1], "", "", status="none", reason="no explanation was found")


def best_first(rows: Sequence[Explained]) -> list[Explained]:
    """The rows of one unit: those with a text first, by origin, then by score (highest first), else as they came."""
    return sorted(rows, key=lambda r: (
        r.status != "ok", ORIGINS.index(r.origin), -(r.score if r.score is not None else float("-inf")),
    ))  # fmt: skip


def explanations_frame(rows: Sequence[Explained]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([r.row() for r in rows], columns=list(UNIT_EXPLANATIONS))
