"""The files in `llm/`, and where those of one process are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LLM = "llm"
"""The stage folder."""
_JOURNAL, _LEDGER = "journal", "ledger"


@dataclass(frozen=True)
class RequestFiles:
    """The two files of a run, or of one shard of a stage, named by `suffix` (such as `00001-of-00004`).

    Whoever writes them holds the lock of the run or of the shard.
    """

    run_dir: Path
    suffix: str = ""

    @property
    def folder(self) -> Path:
        return self.run_dir / LLM

    @property
    def journal(self) -> str:
        """Every response as it arrived."""
        return self._name(_JOURNAL, ".jsonl")

    @property
    def ledger(self) -> str:
        """What was sent and paid."""
        return self._name(_LEDGER, ".json")

    def _name(self, stem: str, ending: str) -> str:
        return f"{stem}-{self.suffix}{ending}" if self.suffix else f"{stem}{ending}"
