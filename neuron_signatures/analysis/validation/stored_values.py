"""Measured values of sets, stored while a validation runs, so that an interrupted one continues."""

from __future__ import annotations

import numpy as np

from neuron_signatures.runs.partial import Partial

_MOST_BYTES = 256 << 20


class StoredValues:
    """Values by name, in the order of measurement. Changes are written at most every 20 seconds, without a `partial`
    never."""

    def __init__(self, partial: Partial | None = None) -> None:
        self._partial = partial
        self._values: dict[str, list[float]] = {}
        stored = partial.load(max_bytes=_MOST_BYTES) if partial else {}
        if stored.keys() == {"names", "counts", "values"} and int(stored["counts"].sum()) == len(stored["values"]):
            parts = np.split(stored["values"], np.cumsum(stored["counts"])[:-1])
            self._values = {
                str(name): part.tolist() for name, part in zip(stored["names"].tolist(), parts, strict=True)
            }

    def of(self, name: str) -> list[float]:
        """The values under this name; the caller appends what it measures."""
        return self._values.setdefault(name, [])

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(map(len, self._values.values()))

    def changed(self) -> None:
        """Note that values were appended."""
        if self._partial:
            self._partial.save(self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored; empty if nothing was measured."""
        known = {name: values for name, values in self._values.items() if values}
        if not known:
            return {}
        return {
            "names": np.array(list(known)),
            "counts": np.array([len(values) for values in known.values()]),
            "values": np.concatenate([np.array(values) for values in known.values()]),
        }
