"""Checking the logs of scores: every line, what lines refer to, and what stage records say about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.index import AnotherFileError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.names import META
from neuron_signatures.runs.scores.index import ScoreIndex, scored_names
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.lines import log_path, open_log, read_line
from neuron_signatures.runs.scores.meta import AGAIN, ScoresMeta, read_meta, read_settings
from neuron_signatures.runs.scores.names import SCORES, is_scored_name, log_name, meta_name, settings_name
from neuron_signatures.runs.scores.stage import is_finished, log_digest

_MOST = 100
"""Faults of one log that are named."""


class ScoresCheck:
    """The `faults` and `remarks` of all logs of a run, one line each. `known` are the files that belong to a log."""

    def __init__(self, run_dir: Path, manifest: Manifest) -> None:
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self.known: set[str] = set()
        self._manifest = manifest
        try:
            names = scored_names(run_dir)
        except BadRunError as e:
            self.faults.append(e.line())
            return
        for name in sorted(_with_record(run_dir) - set(names)):
            what = f"is missing, its record {meta_name(name)} is there"
            self.faults.append(BadRunError(what, where=str(log_path(run_dir, name)), next_step=AGAIN).line())
        for name in names:
            self.known |= {log_name(name), settings_name(name)}
            try:
                self._check(run_dir, name)
            except (FileNotFoundError, AnotherFileError):
                self.remarks.append(f"{SCORES}/{log_name(name)} was removed meanwhile")
            except BadRunError as e:
                self.faults.append(e.line())

    def _check(self, run_dir: Path, name: str) -> None:
        path, index = log_path(run_dir, name), ScoreIndex(run_dir, name)
        index.read_more()
        for n, fault in enumerate(self._line_faults(path, index)):
            if n == _MOST:
                self.faults.append(f"{path}: and more")
                break
            self.faults.append(BadRunError(fault, where=str(path), next_step=AGAIN).line())
        if is_finished(run_dir, name):
            self._check_record(run_dir, path, read_meta(run_dir, name), index)
        else:
            begun = read_settings(run_dir, name) is not None
            next_step = "the same command finishes them" if begun else f"without {settings_name(name)}"
            self.remarks.append(f"{SCORES}/{log_name(name)}: unfinished scores; {next_step}")
        if path.stat().st_size > index.end:
            self.remarks.append(f"{SCORES}/{log_name(name)}: a torn last line, which the next writer removes")

    def _line_faults(self, path: Path, index: ScoreIndex) -> Iterator[str]:
        """What is wrong with single lines; each is read whole."""
        with open_log(path) as file:
            for key in index.keys:
                try:
                    line = read_line(file, path, index.kept(key))
                except BadRunError as e:
                    yield e.what
                    continue
                if fault := self._fault_of(line):
                    yield f"{_name(key)}: {fault}"

    def _fault_of(self, line: ScoreLine) -> str:
        if line.layer >= self._manifest.n_layers or line.neuron >= self._manifest.d_mlp:
            return f"the model has no neuron L{line.layer}N{line.neuron}"
        if line.status != "ok" and line.scores:
            return f"has scores although its status is {line.status}"
        if (line.control == "other") != bool(line.other):
            return "names another neuron" if line.other else "does not say of which neuron the explanation is"
        wrong = next((n for n, s in line.scores.items() if (s.value is None) != bool(s.undefined)), None)
        return "" if wrong is None else f"{wrong} has both a value and a reason for none, or neither"

    def _check_record(self, run_dir: Path, path: Path, meta: ScoresMeta, index: ScoreIndex) -> None:
        size, says = path.stat().st_size, f"its record {meta_name(meta.name)}"
        if size < meta.log_bytes:
            what = f"truncated: {size} bytes, {says} has {meta.log_bytes}"
        elif log_digest(run_dir, meta.name, meta.log_bytes) != meta.log_sha256:
            what = f"its first {meta.log_bytes} bytes differ from {says}: lines have changed"
        elif index.end > meta.log_bytes:
            what = "lines were appended after the scores were finished"
        else:
            return
        self.faults.append(BadRunError(what, where=str(path), next_step=AGAIN).line())


def _name(key: LineKey) -> str:
    return f"{key.at.label} {key.control} {key.explanation}"


def _with_record(run_dir: Path) -> set[str]:
    """The scores that have a stage record."""
    found = (p.name.removesuffix(META) for p in (run_dir / SCORES).glob(f"*{META}"))
    return {name for name in found if is_scored_name(name)}
