"""How activations become bars and colours: full scale over the run, of one prompt or over a corpus, raw or relative to
the neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.tui.layout.text import size
from neuron_signatures.tui.run.overall import Overall
from neuron_signatures.views.acts import Stats
from neuron_signatures.views.scale import ScaleOf, Spread, records_limit, relative

if TYPE_CHECKING:
    from neuron_signatures.views.records.evidence import Evidence


class Wanted(NamedTuple):
    """What the keys ask for."""

    scope: ScaleOf = "run"
    relative: bool | None = None
    """Relative to mean and spread of the neuron; None: only for a neuron that is always on."""


AS_IT_IS = Wanted()


@dataclass(frozen=True)
class Scaling:
    """Full scale of bars and colours."""

    full: float | None
    """None if no value is included, or all are zero."""
    of: ScaleOf
    spread: Spread | None = None
    """Set: (act - mean) / std is shown."""

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The values that bars and colours show."""
        return values if self.spread is None else relative(values, self.spread)

    def words(self) -> str:
        """`±2.44 (run)`, `z ±3.1 (run)`; empty without a scale."""
        if self.full is None:
            return ""
        of = "corpus" if self.of == "records" else self.of
        return f"{'' if self.spread is None else 'z '}±{size(self.full, 3)} ({of})"


def scaling(
    overall: Overall | None, stats: Stats | None, wanted: Wanted, extremes: tuple[float, float] | None = None
) -> Scaling:
    """The scale for one neuron: `overall` is None until the run has been read, `stats` are of a prompt.

    Until then, and if the run cannot be read, the scale of the prompt. `extremes` are the smallest and the largest
    activation over a corpus, whose scale holds if it is wanted and they are known.
    """
    spread = overall.spread if overall else None
    as_relative = spread is not None and spread.std > 0 and _is_relative(spread, wanted)
    if wanted.scope == "records" and extremes is not None:
        relative_to = spread if as_relative else None
        return Scaling(records_limit(*extremes, relative_to).value or None, "records", relative_to)
    if overall is None or spread is None or wanted.scope == "prompt":
        full = stats.peak_abs if stats else None
        if not as_relative or spread is None or stats is None or stats.max is None:
            return Scaling(full or None, "prompt")
        ends = relative(np.array([stats.max, stats.min], np.float32), spread)
        return Scaling(float(np.abs(ends).max()) or None, "prompt", spread)
    limit = overall.relative_limit if as_relative else overall.limit
    return Scaling(limit.value or None, "run", spread if as_relative else None)


def corpus_scaling(evidence: Evidence, wanted: Wanted) -> Scaling:
    """The scale of a neuron over a corpus: its largest |activation|, or the largest distance from its mean."""
    spread = evidence.spread
    as_relative = spread is not None and spread.std > 0 and _is_relative(spread, wanted)
    return Scaling(evidence.limit(relative=as_relative).value or None, "records", spread if as_relative else None)


def _is_relative(spread: Spread, wanted: Wanted) -> bool:
    return bool(spread.always_on) if wanted.relative is None else wanted.relative
