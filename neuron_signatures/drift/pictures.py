"""Everything that is drawn from a comparison: static figures and the animation."""

from __future__ import annotations

from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs.stage_results import ResultWriter


def write_pictures(writer: ResultWriter, found: Compared, request: CompareRequest) -> list[str]:
    """Write the figures and the animation. Returns their names in the comparison's folder."""
    return []
