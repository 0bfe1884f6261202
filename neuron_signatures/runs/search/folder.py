"""The folder `search/` with its record. Apart from the names, because it imports what `--help` does not need."""

from __future__ import annotations

from typing import Final

from neuron_signatures.runs.search.names import INDEX_COMMAND, SEARCH, STAGE
from neuron_signatures.runs.stage_results import StageFolder

SEARCH_FOLDER: Final = StageFolder(folder=SEARCH, stage=STAGE, tables={}, command=INDEX_COMMAND, modes=(SEARCH,))
