"""The figure of a dose-response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from neuron_signatures.interventions.steer.doses import MeasuredDose
from neuron_signatures.interventions.steer.response import Breaks
from neuron_signatures.runs.tokens import ascii_token

_LABEL_WIDTH = 40


def draw(doses: Sequence[MeasuredDose], broken: Breaks, file: BinaryIO, *, target: str, what: str) -> None:
    """Change of the target function with the band of random controls, and perplexity of the texts with KL, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True)
    clean = next(d for d in doses if d.dose.alpha == 0).value
    alphas = [d.dose.alpha for d in doses]
    left.plot(alphas, [d.value - clean for d in doses], marker="o", markersize=3, label="steered")
    band = [(a, n.low, n.high) for a, n in ((d.dose.alpha, d.dose.null) for d in doses) if n and n.low is not None]
    if band:
        at, low, high = zip(*sorted([*band, (0.0, 0.0, 0.0)]), strict=True)
        left.fill_between(at, low, high, color="0.85", label="random, 5 to 95 %")
    left.set(xlabel="amount", ylabel="change of the target function")
    shown = [d for d in doses if d.dose.perplexity is not None]
    if shown:
        right.plot(
            [d.dose.alpha for d in shown], [d.dose.perplexity for d in shown], marker="o", markersize=3, color="C1"
        )
        bad = [d for d in shown if d.dose.alpha in broken.broken]
        right.plot([d.dose.alpha for d in bad], [d.dose.perplexity for d in bad], "x", color="C3", label="broken text")
        right.set_yscale("log")
    right.set(xlabel="amount", ylabel="perplexity of the text (clean model)")
    for axes in (left, right):
        axes.axvline(0, color="0.7", linewidth=0.8)
    left.axhline(0, color="0.7", linewidth=0.8)
    left.legend(fontsize=8)
    if shown and bad:
        right.legend(fontsize=8)
    title = figure.suptitle(f"{ascii_token(what)}: target '{ascii_token(target)[:_LABEL_WIDTH]}'", fontsize=10)
    title.set_parse_math(False)  # a token such as `$_$` is not a formula
    figure.savefig(file, format="png", dpi=130)
