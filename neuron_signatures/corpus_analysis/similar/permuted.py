"""Draws in which the windows of a stream of tokens are permuted: what two unrelated neurons have in common."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Int64

_FEWEST: Final = 8
"""Windows that are permuted among each other, at least."""


def window_permutation(windows: Int64[np.ndarray, " token"], rng: np.random.Generator) -> Int64[np.ndarray, " token"]:
    """For each token of the stream, the token that takes its place when whole windows are permuted.

    Windows are permuted among those with as many tokens, so that positions stay aligned; where these are fewer than 8,
    together with windows of nearly that length, whose positions are aligned only partly. No window follows itself.
    The stream keeps its tokens, so means and variances do not change; what is lost is which windows belong together.
    """
    firsts = np.flatnonzero(np.diff(windows, prepend=-1))
    lengths = np.diff(np.append(firsts, len(windows)))
    order = np.argsort(-lengths, kind="stable")
    successor = np.empty(len(firsts), np.int64)
    source = np.empty(len(windows), np.int64)
    for group in _groups(lengths[order]):
        members = np.sort(order[group])
        cycle = rng.permutation(members)
        successor[cycle] = np.roll(cycle, -1)
        source[_tokens(firsts, lengths, members)] = _tokens(firsts, lengths, successor[members])
    return source


def _tokens(
    firsts: Int64[np.ndarray, " window"], lengths: Int64[np.ndarray, " window"], members: Int64[np.ndarray, " member"]
) -> Int64[np.ndarray, " token"]:
    return np.concatenate([np.arange(firsts[w], firsts[w] + lengths[w]) for w in members.tolist()])


def _groups(lengths: Int64[np.ndarray, " window"]) -> list[slice]:
    """Places of windows that are permuted with each other, by lengths that descend: those of one length, or of several
    where each has fewer than `_FEWEST` windows. No group has one window unless there is only one."""
    ends = [*(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
    found: list[slice] = []
    start = before = 0
    for end in ends:
        many = end - before >= _FEWEST
        if many and before - start > 1:  # rare lengths before a common one
            found.append(slice(start, before))
            start = before
        if many or end - start >= _FEWEST:
            found.append(slice(start, end))
            start = end
        before = end
    if len(lengths) - start > 1 or (start < len(lengths) and not found):
        found.append(slice(start, len(lengths)))
    elif start < len(lengths):
        found.append(slice(found.pop().start, len(lengths)))
    return found
