"""What an interrupted test has measured, in partial files of its folder."""

from __future__ import annotations

from typing import Any

from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import partial_name
from neuron_signatures.runs.stage_results import ResultWriter


class Partials:
    """The partial files of one result of a mode, of which each holds one computation. `identity` tells settings and
    circuit from others."""

    def __init__(self, writer: ResultWriter, mode: str, identity: dict[str, Any]) -> None:
        self._writer, self._mode, self._identity = writer, mode, identity
        self._partials: list[Partial] = []

    def partial(self, what: str) -> Partial:
        """The file of one computation; to be asked for before the record is written."""
        found = Partial(self._writer.files, partial_name(f"{self._mode}_{what}"), self._identity)
        self._partials.append(found)
        return found

    def remove(self) -> None:
        """Remove all that were asked for."""
        for partial in self._partials:
            partial.remove()
