"""What is imported: a folder of NeuronRecord files, or puzzles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from neuron_signatures.explain.puzzles import Puzzle
from neuron_signatures.records.exchange.imported import Given, Moments, import_neurons, import_records
from neuron_signatures.records.exchange.neuron_record import ActivationRecord, record_files
from neuron_signatures.records.exchange.options import ALL_EXPLAIN, ImportOptions, ImportSummary
from neuron_signatures.runs.errors import UsageError

FOLDER_PARTS: Final = (50, 20, 30)
"""Percent of the texts for writing, choosing and scoring, as in an extraction."""


@dataclass(frozen=True)
class Content:
    """`files_sha256` tells whether a run was imported from these files; it is recorded in the run."""

    kind: Literal["neuron_record", "puzzles"]
    source: Path
    files_sha256: str
    parts: tuple[int, int, int]
    run: Callable[[ImportOptions], ImportSummary]
    model_name: str | None = None
    described: tuple[tuple[str, Any], ...] = ()

    def options(self, run_dir: Path) -> ImportOptions:
        described = {**dict(self.described), "files_sha256": self.files_sha256}
        return ImportOptions(
            self.source, run_dir, self.kind, model_name=self.model_name, parts=self.parts, described=described
        )


def folder_content(folder: Path, model_name: str | None) -> Content:
    """Its texts are split into parts by a hash of each.

    `files_sha256` is over the names and sizes of the files, because to read all of them takes minutes.
    """
    digest, n = hashlib.sha256(), 0
    for path in record_files(folder):
        digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        n += 1
    if not n:
        raise UsageError(
            "there are no records here", where=str(folder),
            next_step="Give the folder that holds neurons/<layer>/<neuron>.json",
        )  # fmt: skip
    return Content("neuron_record", folder, digest.hexdigest(), FOLDER_PARTS, import_records, model_name)


def puzzle_content(file: Path, puzzles: Sequence[Puzzle]) -> Content:
    """All sentences are of part explain."""
    digest = hashlib.sha256("\n".join(p.model_dump_json() for p in puzzles).encode("utf-8", "surrogatepass"))

    def run(options: ImportOptions) -> ImportSummary:
        return import_neurons(_given(puzzles), options)

    names = [p.name for p in puzzles]
    return Content("puzzles", file, digest.hexdigest(), ALL_EXPLAIN, run, "puzzles", (("names", names),))


def _given(puzzles: Sequence[Puzzle]) -> Iterator[Given]:
    """Puzzle i as neuron L0N<i>: all sentences are its sample, and the active ones its strongest."""
    for i, puzzle in enumerate(puzzles):
        sentences = [
            ActivationRecord(tokens=[token for token, _ in text], activations=[act for _, act in text])
            for text in puzzle.texts()
        ]
        strongest = [s for s in sentences if max(s.activations) > 0]
        yield Given((0, i), Moments(), strongest, sentences, 0, None)
