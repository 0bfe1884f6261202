"""Text that the summaries of all modes share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.tokens import escape


def neuron_name(layer: int, neuron: int) -> str:
    return f"L{layer}N{neuron}"


def warning_lines(warnings: Sequence[str]) -> list[str]:
    return [f"note     {escape(w)}" for w in warnings]


def written_line(folder: Path, *names: str) -> str:
    return f"written  {escape(str(folder))}/analysis: {', '.join(names)}"


def number(x: float | None) -> str:
    """Three decimals; `-` if undefined."""
    return "-" if x is None or not math.isfinite(x) else f"{x:.3f}"


def percent(x: float | None) -> str:
    """A share as a percentage; `-` if undefined."""
    return "-" if x is None or not math.isfinite(x) else f"{100 * x:.1f} %"
