"""Figures without a display, written to a folder of the run; files have the same bytes for the same table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.opening import folder_below
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.tokens import ascii_token

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito 2008: distinct for all kinds of colour vision."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Lines differ in their marker too, so that they are distinct in grey."""
_DPI: Final = 130
_NAME_LENGTH: Final = 22


def new_figure(width: float, height: float) -> Figure:
    """In inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_pictures(
    run_dir: Path, folder: str, pictures: Iterable[tuple[str, Callable[[], Figure]]], kinds: Sequence[str]
) -> list[str]:
    """Draw the pictures and write each in every format (png, svg) to a folder of the run, in place of earlier ones.

    A picture is the stem of its file and what draws it. The caller holds the run's lock. Returns the names of the files
    in `folder`.
    """
    with explain_os_errors(run_dir / folder), folder_below(run_dir, folder, create=True):
        writer = ResultsWriter(run_dir, folder)
    for path in sorted(writer.folder.glob("*.*")):
        if path.suffix in (".png", ".svg"):
            writer.remove(path.name)
    names = []
    for stem, draw in pictures:
        figure = draw()
        for kind in kinds:
            names.append(f"{stem}.{kind}")
            with writer.file(names[-1]) as f:
                save(figure, f, kind)
    return names


def save(figure: Figure, file: BinaryIO, kind: str) -> None:
    """`kind` is png or svg."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "neuron-signatures", "svg.fonttype": "none"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)


def shown(name: object) -> str:
    """A name from data: printable, short, and no formula."""
    text = ascii_token(str(name)).replace("$", r"\$")
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"
