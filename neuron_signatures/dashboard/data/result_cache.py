"""Cached results of long computations.

A function cached by Streamlit cannot show progress, so the cache holds an empty slot for each key, which the caller
fills.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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

    def get(self, make: Callable[[Any], T], shown: AbstractContextManager[Any]) -> T:
        """The result; `make` is called with what `shown` yields, if there is no result yet."""
        with self._lock:
            if not self._value:
                with shown as progress:
                    self._value.append(make(progress))
            value: T = self._value[0]
            return value


@st.cache_resource(show_spinner=False, max_entries=2)
def _large(*key: Hashable) -> _Slot:
    return _Slot()


@st.cache_resource(show_spinner=False, max_entries=24)
def _small(*key: Hashable) -> _Slot:
    return _Slot()


def cached(make: Callable[[], T], *key: Hashable, spinner: str = "") -> T:
    """The result of `make` for this key; the last 24 are cached. `spinner` is shown while `make` runs."""
    slot: _Slot = _small(*key)
    return slot.get(lambda _: make(), st.spinner(spinner, show_time=True) if spinner else nullcontext())


def cached_with_bar(text: str, make: Callable[[Progress], T], *key: Hashable, large: bool = False) -> T:
    """As `cached`, with a progress bar that `make` moves. Of `large` results (tens of megabytes), two are cached."""
    slot: _Slot = (_large if large else _small)(*key)
    return slot.get(make, _progress_bar(text))


@contextmanager
def _progress_bar(text: str) -> Iterator[Progress]:
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
