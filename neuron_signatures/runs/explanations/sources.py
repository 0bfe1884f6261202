"""`explanations/<set>_source.jsonl`: what imported files say beside the texts, one line per explanation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.names import EXPLANATIONS, source_name
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import NotReadableError, open_regular

MAX_LINE = 128 << 20
_START = b'{"id":"'
_ID = slice(len(_START), len(_START) + 16)


def source_line(id_: str, source: Mapping[str, Any]) -> bytes:
    """The line of one explanation."""
    record = {"id": id_, "source": source}
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class Sources:
    """A context manager. Opening reads where each explanation's line is; a set that was not imported has none."""

    def __init__(self, run_dir: Path, set_name: str) -> None:
        self._path = inside(run_dir, f"{EXPLANATIONS}/{source_name(set_name)}")
        self._file: BinaryIO | None = None
        self._starts: dict[str, int] = {}

    def __enter__(self) -> Sources:
        try:
            self._file = open_regular(self._path)
        except FileNotFoundError:
            return self
        except (OSError, NotReadableError) as e:
            raise BadRunError(f"cannot be read ({e})", where=str(self._path)) from e
        at = 0
        while raw := self._file.readline(MAX_LINE + 1):
            if not raw.startswith(_START) or not raw.endswith(b"\n"):
                self._file.close()
                raise self._damaged(at)
            self._starts[raw[_ID].decode("ascii", "replace")] = at
            at += len(raw)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def of(self, id_: str) -> dict[str, Any]:
        """What the file said beside the text; empty if nothing."""
        if self._file is None or id_ not in self._starts:
            return {}
        self._file.seek(self._starts[id_])
        try:
            found = parse_json(self._file.readline(MAX_LINE))["source"]
        except (ValueError, KeyError, TypeError) as e:
            raise self._damaged(self._starts[id_]) from e
        return found if isinstance(found, dict) else {}

    def _damaged(self, at: int) -> BadRunError:
        return BadRunError(f"the line at byte {at} is damaged", where=str(self._path), next_step="Import the set again")
