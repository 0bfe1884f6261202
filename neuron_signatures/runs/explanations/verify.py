"""Checking the logs of explanations: every line, what lines refer to, and what stage records say about them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.index import LogIndex, set_names
from neuron_signatures.runs.explanations.lines import Line, log_path, open_log, read_entry
from neuron_signatures.runs.explanations.meta import AGAIN, ExplanationsMeta, read_set_meta, read_settings
from neuron_signatures.runs.explanations.names import (
    EXPLANATIONS,
    HUMAN_SET,
    is_set_name,
    log_name,
    meta_name,
    settings_name,
)
from neuron_signatures.runs.explanations.stage import is_finished, log_digest
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.names import META

_MOST = 100
"""Faults of one log that are named."""


class LogsCheck:
    """The `faults` and `remarks` of all logs of a run, one line each. `known` are the files that belong to a set."""

    def __init__(self, run_dir: Path, manifest: Manifest) -> None:
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self.known: set[str] = set()
        self._ids: dict[str, str] = {}
        self._layers, self._manifest = set(manifest.layers), manifest
        try:
            names = set_names(run_dir)
        except BadRunError as e:
            self.faults.append(e.line())
            return
        for name in sorted(_with_record(run_dir) - set(names)):
            what = f"is missing, its record {meta_name(name)} is there"
            self.faults.append(BadRunError(what, where=str(log_path(run_dir, name)), next_step=AGAIN).line())
        for name in names:
            self.known |= {log_name(name), settings_name(name)}
            try:
                self._check_set(run_dir, name)
            except FileNotFoundError:
                self.remarks.append(f"explanations/{log_name(name)} was removed meanwhile")
            except BadRunError as e:
                self.faults.append(e.line())

    def _check_set(self, run_dir: Path, name: str) -> None:
        path, index = log_path(run_dir, name), LogIndex(run_dir, name)
        index.read_more()
        meta = read_set_meta(run_dir, name) if is_finished(run_dir, name) else None
        found = [line for lines in index.poles.values() for line in lines]
        found.sort(key=lambda line: line.start)
        for n, fault in enumerate(self._line_faults(path, name, found)):
            if n == _MOST:
                self.faults.append(f"{path}: and more")
                break
            self.faults.append(BadRunError(fault, where=str(path), next_step=AGAIN).line())
        if meta is not None:
            self._check_record(run_dir, path, meta, found)
        elif name != HUMAN_SET:
            begun = read_settings(run_dir, name) is not None
            next_step = "the same command finishes it" if begun else f"without {settings_name(name)}"
            self.remarks.append(f"explanations/{log_name(name)}: an unfinished set; {next_step}")
        if path.stat().st_size > index.end:
            self.remarks.append(f"explanations/{log_name(name)}: a torn last line, which the next writer removes")

    def _line_faults(self, path: Path, name: str, lines: list[Line]) -> Iterator[str]:
        """What is wrong with single lines; each is read whole."""
        here: dict[str, Line] = {}
        with open_log(path) as file:
            for line in lines:
                try:
                    entry = read_entry(file, path, line)
                except BadRunError as e:
                    yield e.what
                    continue
                if fault := self._fault_of(entry, name, here):
                    yield f"{line.id}: {fault}"
                if line.kind == "explanation":
                    here[line.id] = line

    def _fault_of(self, entry: Entry, name: str, here: dict[str, Line]) -> str:
        if entry.id in self._ids:
            return f"the id is in use in set {self._ids[entry.id]} already"
        self._ids[entry.id] = name
        if entry.set != name:
            return f"is of set {entry.set}"
        if entry.layer >= self._manifest.n_layers or entry.neuron >= self._manifest.d_mlp:
            return f"the model has no neuron L{entry.layer}N{entry.neuron}"
        other = entry.parent if entry.kind == "explanation" else entry.about
        if other is None:
            return "" if entry.kind == "explanation" else f"a {entry.kind} about nothing"
        if other not in here:
            return f"{other}, which it refers to, is no explanation before it in this log"
        if here[other].at != (entry.layer, entry.neuron, entry.pole):
            return f"{other}, which it refers to, is about another neuron or pole"
        return ""

    def _check_record(self, run_dir: Path, path: Path, meta: ExplanationsMeta, lines: list[Line]) -> None:
        where = str(path)
        size = os.stat(path).st_size  # noqa: PTH116
        says = f"its record {meta_name(meta.set)}"
        if size < meta.log_bytes:
            what = f"truncated: {size} bytes, {says} has {meta.log_bytes}"
        elif log_digest(run_dir, meta.set, meta.log_bytes) != meta.log_sha256:
            what = f"its first {meta.log_bytes} bytes differ from {says}: lines of the set have changed"
        elif later := [line.id for line in lines if line.start >= meta.log_bytes and line.author == "model"]:
            what = f"{later[0]} was appended by a model after the set was finished"
        else:
            return
        self.faults.append(BadRunError(what, where=where, next_step=AGAIN).line())


def _with_record(run_dir: Path) -> set[str]:
    """The sets that have a stage record."""
    found = (p.name.removesuffix(META) for p in (run_dir / EXPLANATIONS).glob(f"*{META}"))
    return {name for name in found if is_set_name(name)}
