"""The model of the run, for scorers: loaded when it is first used, and used by one task at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

if TYPE_CHECKING:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
    from neuron_signatures.scoring.outputs.loaded import LoadedSubject

Found = TypeVar("Found")


class Subject:
    """Making one is cheap: neither torch is imported nor a file read."""

    def __init__(self, run: Run, records: Records, overrides: ModelOverrides | None) -> None:
        self._run, self._records, self._overrides = run, records, overrides
        self._loaded: LoadedSubject | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="subject")

    async def use(self, work: Callable[[LoadedSubject], Found]) -> Found:
        """What `work` returns, called in a thread of its own after all earlier calls.

        Raises what loading raises (see `open_subject`), and what `work` does.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self.load()))

    def load(self) -> LoadedSubject:
        """The loaded model. Not for several threads at a time."""
        if self._loaded is None:
            from neuron_signatures.scoring.outputs.loaded import open_subject

            self._loaded = open_subject(self._run, self._records, self._overrides)
        return self._loaded
