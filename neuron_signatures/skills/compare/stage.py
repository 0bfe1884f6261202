"""Reads what was collected, makes all tables, and writes them with the record last."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.runs.stage_results import write_table
from neuron_signatures.runs.versions import now_utc, versions
from neuron_signatures.skills.compare import probes, similarities, specific
from neuron_signatures.skills.compare.groups import Groups, choose_groups
from neuron_signatures.skills.compare.prepared import Prepared, prepare
from neuron_signatures.skills.compare.request import CompareRequest

log = logging.getLogger(__name__)
STAGE = "poc7_compare_skills"


@dataclass(frozen=True)
class Compared:
    """The tables, and what is said about the result as a whole."""

    similarities: pd.DataFrame
    separation: pd.DataFrame
    specific: pd.DataFrame
    frequencies: pd.DataFrame
    probes: pd.DataFrame
    facts: dict[str, Any]


def chosen_banks(skills: Skills, request: CompareRequest) -> list[Bank]:
    """Raises `UsageError` if no bank is left."""
    banks = [bank for bank in skills.banks if request.has(bank)]
    if not banks:
        groups = ", ".join(dict.fromkeys(bank.group for bank in skills.banks))
        raise UsageError(f"no collected units are left; there are {groups}", where="--sources, --sites, --layers")
    return sorted(banks)


def compare(skills: Skills, request: CompareRequest, *, progress: ProgressOf) -> Compared:
    """All tables; nothing is written."""
    banks, groups = chosen_banks(skills, request), choose_groups(skills.texts, request.classes)
    halves = specific.halves_of(skills.texts, list(groups.classes))

    def load(bank: Bank) -> Prepared:
        return prepare(skills.stats(bank), groups.texts, request.firing)

    with progress("comparisons", similarities.n_steps(groups, banks)) as bar:
        similar, separation = similarities.tables(
            groups, banks, load, request.resampling, min_share=request.firing.min_share, bar=bar
        )
    with progress("banks", len(banks)) as bar:
        units, frequencies = specific.tables(banks, skills.stats, halves, request.firing, bar=bar)
    probed = probes.table(skills, banks, halves, request.probes, seed=request.resampling.seed, progress=progress)
    facts = {
        **_facts(skills, groups, banks, request),
        "length_auroc": specific.length_control(skills.texts, halves),
        "n_tested": {name: int(n) for name, n in units["class"].value_counts().sort_index().items()},
    }
    return Compared(similar, separation, units, frequencies, probed, facts)


def _facts(skills: Skills, groups: Groups, banks: list[Bank], request: CompareRequest) -> dict[str, Any]:
    half = skills.texts["half"].to_numpy()
    return {
        "n_texts": {name: len(at) for name, at in groups.classes.items()},
        "n_find": {name: int((half[groups.texts[at]] == "find").sum()) for name, at in groups.classes.items()},
        "n_banks": len(banks),
        "background_share": request.firing.background_share,
        "too_small": list(groups.too_small),
        "median_tokens": {
            name: float(np.median(skills.texts["n_tokens"].to_numpy()[groups.texts[at]]))
            for name, at in groups.classes.items()
        },
    }


WriteFigures = Callable[[Path, Compared, Sequence[str]], list[str]]
"""Draws into the run in a folder, in these formats, and returns the names."""


def run_compare(request: CompareRequest, *, progress: ProgressOf, draw: WriteFigures | None = None) -> Compared:
    """Compute and write; `draw` makes the pictures, if some are asked for. Raises the project's errors."""
    started = time.monotonic()
    with Skills.open(request.run_dir) as skills, run_lock(request.run_dir):
        found = compare(skills, request, progress=progress)
        writer = ResultsWriter(request.run_dir, names.SKILLS)
        writer.begin(names.record_name("compare"))
        write_table(writer, names.SIMILARITIES, found.similarities, columns.SIMILARITIES)
        write_table(writer, names.SEPARATION, found.separation, columns.SEPARATION)
        write_table(writer, names.SPECIFIC, found.specific, columns.SPECIFIC)
        write_table(writer, names.FREQUENCIES, found.frequencies, columns.FREQUENCIES)
        write_table(writer, names.PROBES, found.probes, columns.PROBES)
        if request.figures and draw is not None:
            found.facts["figures"] = draw(request.run_dir, found, request.figures)
        writer.record(names.record_name("compare"), _record(skills, request, found, time.monotonic() - started))
    return found


def _record(skills: Skills, request: CompareRequest, found: Compared, seconds: float) -> dict[str, Any]:
    meta = skills.meta
    return {
        "stage": STAGE, "mode": "compare", "created_at_utc": now_utc(), "versions": versions(),
        "run": meta.run.model_dump() if meta.run else None, "settings": request.settings(),
        "wall_seconds": round(seconds, 1), "collect_sha256": meta.record_sha256, "facts": found.facts,
    }  # fmt: skip
