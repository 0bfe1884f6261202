"""Everything that is drawn from a comparison: static figures and the animation."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.drift.animation import animation
from neuron_signatures.drift.figures import figures
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.drift.stage import Compared
from neuron_signatures.runs import canvas
from neuron_signatures.runs.comparisons.folder import ANIMATION, FIGURES
from neuron_signatures.runs.names import COMPARISONS
from neuron_signatures.runs.stage_results import ResultWriter


def write_pictures(writer: ResultWriter, found: Compared, request: CompareRequest) -> list[str]:
    """Write the figures and the animation. Returns their names in the comparison's folder."""
    names = _write_figures(request.runs[request.reference], found, request)
    page = animation(found, title=request.name, seed=request.drawn.seed)
    if page is None:
        writer.files.remove(ANIMATION)
        return names
    with writer.files.file(ANIMATION) as f:
        f.write(page.encode())
    return [*names, ANIMATION]


def _write_figures(run_dir: Path, found: Compared, request: CompareRequest) -> list[str]:
    """In every format, in place of those of an earlier comparison."""
    folder = f"{COMPARISONS}/{request.name}/{FIGURES}"
    names = canvas.write_pictures(run_dir, folder, figures(found) if request.figures else (), request.figures)
    return [f"{FIGURES}/{name}" for name in names]
