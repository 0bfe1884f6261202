"""Cached results of long computations.

A function cached by Streamlit cannot show progress, so the cache holds an empty slot for each key, which the caller
fills.
"""

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


class _Slot:
    """One result; concurrent callers wait for it. An interrupted computation leaves the slot empty."""

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
def _large(*key: Hashable) -> _Slot:
    return _Slot()


@st.cache_resource(show_spinner=False, max_entries=24)
def _small(*key: Hashable) -> _Slot:
    return _Slot()


def cached_large(make: Callable[[], T], *key: Hashable) -> T:
    """The result of `make` for this key, for results of tens of megabytes: the last two are cached."""
    slot: _Slot = _large(*key)
    return slot.get(make)


def cached(make: Callable[[], T], *key: Hashable) -> T:
    """The result of `make` for this key; the last 24 are cached."""
    slot: _Slot = _small(*key)
    return slot.get(make)


@contextmanager
def progress_bar(text: str) -> Iterator[Progress]:
    """A progress bar that disappears at the end; `text` must not come from data."""
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
