"""How long the steps of the map take: a formula that was fitted on two cores, corrected by what they took here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import streamlit as st

Step = Literal["t-SNE", "k-means", "HDBSCAN", "sweep"]
# Seconds for n neurons, from 300 to 5,000; each clustering is of the data and of the shuffled data.
_SECONDS: dict[Step, Callable[[int], float]] = {
    "t-SNE": lambda n: 12 + 0.007 * n,
    "k-means": lambda n: 2 * (n / 5000),
    "HDBSCAN": lambda n: 6 * (n / 5000) ** 2,
    "sweep": lambda n: 6 * (n / 5000),
}
_SHOWN_FROM = 0.5


def forecast(step: Step, n: int) -> str:
    """`, about 20 s`, to append to the name of the step; empty for less than half a second."""
    seconds = _SECONDS[step](n) * _ratios().get(step, 1.0)
    return f", about {rounded(seconds)}" if seconds >= _SHOWN_FROM else ""


@contextmanager
def timed(step: Step, n: int) -> Iterator[None]:
    """Time a step, to correct later forecasts of this server."""
    begun = time.monotonic()
    yield
    _ratios()[step] = (time.monotonic() - begun) / _SECONDS[step](n)


def rounded(seconds: float) -> str:
    """One significant digit, in seconds or minutes, at least 1 s."""
    unit, value = ("min", seconds / 60) if seconds >= 90 else ("s", max(seconds, 1.0))
    scale = 10 ** math.floor(math.log10(value))
    return f"{round(value / scale) * scale:.0f} {unit}"


@st.cache_resource(show_spinner=False)
def _ratios() -> dict[Step, float]:
    """Measured by forecast seconds of each step's last run; shared by all sessions."""
    return {}
