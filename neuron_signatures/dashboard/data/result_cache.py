"""Results of long work that outlive a rerun. Streamlit's caches cannot hold a function that shows its progress, so
they hold an empty place for each set of settings, and the work is done beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from neuron_signatures.dashboard.data.neuron_stats import Progress

T = TypeVar("T")
_SHOWN_AFTER = 0.4
"""Seconds; shorter work shows no bar."""
_EVERY = 0.1


class _Place:
    """One result; whoever comes second waits. Work that is broken off leaves the place empty."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: list[Any] = []

    def get(self, make: Callable[[], T]) -> T:
        with self._lock:
            if not self._value:
                self._value.append(make())
            value: T = self._value[0]
            return value


@st.cache_resource(show_spinner=False, max_entries=2)
def _large(*key: Hashable) -> _Place:
    return _Place()


@st.cache_resource(show_spinner=False, max_entries=24)
def _small(*key: Hashable) -> _Place:
    return _Place()


def keep_large(make: Callable[[], T], *key: Hashable) -> T:
    """The result of `make` for this key; of results of tens of megabytes, the last two are kept."""
    place: _Place = _large(*key)
    return place.get(make)


def keep(make: Callable[[], T], *key: Hashable) -> T:
    """The result of `make` for this key; the last two dozen are kept."""
    place: _Place = _small(*key)
    return place.get(make)


@contextmanager
def progress_bar(text: str) -> Iterator[Progress]:
    """A bar that goes when the work is done. `text` is our own."""
    spot = st.empty()
    begun = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - begun >= _SHOWN_AFTER and now - last >= _EVERY and total:
            last = now
            spot.progress(min(done / total, 1.0), text)

    try:
        yield show
    finally:
        spot.empty()
