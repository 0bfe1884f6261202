"""Checks of `skills/` beyond the checksums that the stage records list."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.skills.names import SAMPLE, SKILLS, UNFINISHED, is_part, is_unfinished, record_name
from neuron_signatures.runs.skills.reader import Skills


class SkillsCheck:
    """What is wrong with the contents of `skills/`, and files of a stopped command, which no record lists (`known`)."""

    def __init__(self, run_dir: Path) -> None:
        self.faults: list[str] = []
        self.remarks: list[str] = []
        self.known: Set[str] = frozenset()
        names = [p.name for p in (run_dir / SKILLS).iterdir()]
        if UNFINISHED in names:
            self.known = {n for n in names if is_unfinished(n) or is_part(n) or n == SAMPLE}
            what = "a stopped --mode collect, which the same command with --resume continues"
            self.remarks.append(UsageError(what, where=f"{SKILLS}/{UNFINISHED}").line())
        if record_name("collect") in names:
            self._check(run_dir)

    def _check(self, run_dir: Path) -> None:
        try:
            with Skills.open(run_dir) as skills:
                for bank in skills.banks:
                    stats = skills.stats(bank)
                    shapes = {m.shape for m in (stats.total, stats.peak, stats.topk)}
                    if shapes != {(skills.meta.n_texts, bank.width)}:
                        what = f"{bank.key} has {shapes}, not {skills.meta.n_texts} texts and {bank.width} columns"
                        raise BadRunError(what, where=str(run_dir / SKILLS))
        except (BadRunError, UsageError) as e:
            self.faults.append(e.line())
