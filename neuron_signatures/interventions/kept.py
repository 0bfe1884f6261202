"""What an interrupted intervention has finished, as JSON values in one partial file of the run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ResultsWriter, partial_name

_MAX_BYTES = 1 << 28
_KEY = "finished"


class Kept:
    """Named JSON values. They are written at most every 20 seconds, and when an exception ends the block."""

    def __init__(self, writer: ResultsWriter, stem: str, settings: Mapping[str, Any]) -> None:
        self._partial = Partial(writer, partial_name(stem), settings)
        stored = self._partial.load(max_bytes=_MAX_BYTES)
        self._values: dict[str, Any] = json.loads(stored[_KEY].tobytes()) if _KEY in stored else {}
        self.resumed = bool(self._values)

    def get(self, name: str) -> Any:
        """The value of an earlier process; None if there is none."""
        return self._values.get(name)

    def put(self, name: str, value: Any) -> None:
        """Keep a value of JSON types."""
        self._values[name] = value
        self.changed()

    def rows(self, name: str) -> list[Any]:
        """A list that grows; call `changed` after adding to it."""
        found: list[Any] = self._values.setdefault(name, [])
        return found

    def changed(self) -> None:
        if self._partial.is_due:
            self._partial.save_now(self._arrays())

    def drop(self, prefix: str) -> None:
        """Forget the values whose names begin with `prefix`: a value that is made of them is put next."""
        self._values = {name: value for name, value in self._values.items() if not name.startswith(prefix)}

    def remove(self) -> None:
        """Remove the file: the result is written."""
        self._partial.remove()

    @contextlib.contextmanager
    def save_on_error(self) -> Iterator[None]:
        with self._partial.save_on_error(lambda: self._arrays() if self._values else {}):
            yield

    def _arrays(self) -> dict[str, np.ndarray]:
        return {_KEY: np.frombuffer(json.dumps(self._values).encode(), np.uint8)}
