"""What is indexed, and with which embedder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.runs.search.names import KINDS, Kind

AUTO: Final = "auto"
"""`minilm` if its package is installed, else none."""
NONE: Final = "none"
EXEMPLARS: Final = 3
BATCH_SIZE: Final = 64


@dataclass(frozen=True)
class IndexRequest:
    """`layers` as users write them, None for all; `exemplars` per pole. `embedder` is `auto`, `none`, `minilm`, a
    folder or a name on the Hub."""

    run_dir: Path
    kinds: tuple[Kind, ...] = KINDS
    exemplars: int = EXEMPLARS
    layers: str | None = None
    embedder: str = AUTO
    device: str = "auto"
    batch_size: int = BATCH_SIZE

    def settings(self) -> dict[str, Any]:
        """Those that decide the result."""
        return {
            "kinds": list(self.kinds), "exemplars": self.exemplars, "layers": self.layers, "embedder": self.embedder
        }  # fmt: skip
