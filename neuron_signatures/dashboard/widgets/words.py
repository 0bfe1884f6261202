"""Numbers with their nouns, and the sentence about the limit of a map."""

from __future__ import annotations

from neuron_signatures.views.scale import Limit


def count_of(n: int, noun: str, plural: str = "") -> str:
    """`1 prompt`, `1,234 prompts`; the plural is the noun with an `s` if it is not given."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def map_limit_text(limit: Limit, noun: str, mark: str = "outlined") -> str:
    """What the full colour of a map is, and how many cells are beyond it."""
    if not limit.value:
        return ""
    beyond = f" {count_of(limit.n_beyond, noun)} beyond it: {mark}." if limit.n_beyond else ""
    return f"Full colour: {limit.value:.4g}, the {limit.percentile:g}th percentile of the {noun}s' magnitudes.{beyond}"
