"""Checking the journals and ledgers of requests to language models."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from neuron_signatures.runs.errors import BadRunError, ProjectError
from neuron_signatures.runs.llm.journal import Received
from neuron_signatures.runs.llm.ledger import read_ledger
from neuron_signatures.runs.llm.names import LLM, RequestFiles
from neuron_signatures.runs.opening import NotReadableError, open_regular

_MAX_LINE = 32 << 20


class RequestsCheck:
    """The `faults` of all journals and ledgers of a run, one line each, and their names (`known`)."""

    def __init__(self, run_dir: Path) -> None:
        self.faults: list[str] = []
        self.known: set[str] = set()
        for files in _files_of(run_dir):
            self.known |= {files.journal, files.ledger}
            try:
                read_ledger(files)
                _check_journal(files.folder / files.journal)
            except ProjectError as e:
                self.faults.append(e.line())


def _files_of(run_dir: Path) -> list[RequestFiles]:
    """Those of the run, and of each shard."""
    of_run, of_shards = RequestFiles(run_dir), RequestFiles(run_dir, "*")
    suffixes = set()
    for pattern in (of_shards.journal, of_shards.ledger):
        before, after = pattern.split("*")
        found = (run_dir / LLM).glob(pattern)
        suffixes |= {p.name.removeprefix(before).removesuffix(after) for p in found}
    return [of_run, *(RequestFiles(run_dir, suffix) for suffix in sorted(suffixes))]


def _check_journal(path: Path) -> None:
    """Raise `BadRunError` for the first line that is no record of a request; a torn last line is none."""
    try:
        with open_regular(path) as file:
            number = 0
            while (raw := file.readline(_MAX_LINE)).endswith(b"\n"):
                number += 1
                Received.model_validate_json(raw)
    except FileNotFoundError:
        return
    except ValidationError as e:
        what = f"line {number} is damaged: that request may be sent, and paid, again"
        raise BadRunError(what, where=str(path), next_step="Copy the run again, or remove this line") from e
    except (OSError, NotReadableError) as e:
        raise BadRunError(f"cannot be read ({e})", where=str(path)) from e
