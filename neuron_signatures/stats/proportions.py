"""Shares of a count, and how well a few observations determine them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Integer


class Interval(NamedTuple):
    low: Float64[np.ndarray, " n"]
    high: Float64[np.ndarray, " n"]


def ratio(part: Integer[np.ndarray, " n"], whole: Integer[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """part / whole; NaN where whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def wilson(part: Integer[np.ndarray, " n"], whole: Integer[np.ndarray, " n"], z: float) -> Interval:
    """Wilson's score interval of the share part / whole; NaN where whole is 0.

    It is a confidence interval only if the observations are independent. Prompts that were written as probes are not;
    for them it only shows how little a few prompts determine.
    """
    share, n = ratio(part, whole), np.where(whole > 0, whole, np.nan)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1))
