"""Summaries of the runs in a folder, including broken ones, in bounded memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.runs.errors import BadRunError, UsageError, shorten
from neuron_signatures.runs.explanations.summary import summarise_explanations
from neuron_signatures.runs.lock import holder
from neuron_signatures.runs.manifest import FORMAT_VERSION, Count, FileRecord
from neuron_signatures.runs.manifest_file import first_error, read_summary, unknown_version
from neuron_signatures.runs.names import (
    CIRCUITS,
    COMPARISONS,
    CORPUS_ANALYSIS,
    JOURNAL,
    MANIFEST,
    STAGE_FOLDERS,
    inside,
    is_activation_file,
)
from neuron_signatures.runs.records.summary import summarise_records
from neuron_signatures.runs.replacement import waiting_run
from neuron_signatures.runs.scores.overview import summarise_scores
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.skills.summary import summarise_skills
from neuron_signatures.runs.stage_summaries import StageSummary, stage_summaries

Status = Literal["complete", "writing", "stopped", "broken"]


@dataclass(frozen=True)
class RunSummary:
    """One line of a listing. Unknown numbers are None. `problem` says why a run is broken, or where it is."""

    name: str
    status: Status
    model: str = ""
    n_prompts: int | None = None
    n_tokens: int | None = None
    n_bytes: int = 0
    stages: tuple[str, ...] = ()
    created_at_utc: str = ""
    format_version: int | None = None
    records: str = ""
    """What the records of a corpus hold; empty if there are none."""
    explanations: str = ""
    """How many explanations there are; empty without a folder of them."""
    scores: str = ""
    """How many explanations were scored, and by what; empty without a folder of scores."""
    skills: str = ""
    """The texts and units of skills; empty without a folder of them."""
    weights: str = ""
    """Of this and the four below: the finished modes or names; empty without a folder of them."""
    corpus_analysis: str = ""
    comparisons: str = ""
    circuits: str = ""
    search: str = ""
    problem: str = ""


def list_runs(root: Path) -> Iterator[RunSummary]:
    """Yield the runs directly under `root`, sorted by name. Folders without files of a run are skipped."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "there is no such folder"
        raise UsageError(what, where=str(root), next_step="Give the folder that holds your runs")
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries)
    for name in names:
        try:
            # `is_dir` is False for a dangling or circular link
            summary = summarise(root / name) if (root / name).is_dir() else None
        except OSError as e:
            summary = RunSummary(name, "broken", problem=f"cannot be read ({e.strerror or type(e).__name__})")
        if summary is not None:
            yield summary


def summarise(run_dir: Path) -> RunSummary | None:
    """The summary of one folder, without full validation; None if it has no files of a run."""
    sizes = _files(run_dir)
    tensors = {n: size for n, size in sizes.items() if is_activation_file(n)}
    waiting = "" if MANIFEST in sizes else waiting_run(run_dir)
    if MANIFEST not in sizes and JOURNAL not in sizes and not tensors and not waiting:
        return None
    stages = tuple(s for s in STAGE_FOLDERS if (run_dir / s).is_dir())
    records, explanations = summarise_records(run_dir), summarise_explanations(run_dir)
    scores, skills = summarise_scores(run_dir), summarise_skills(run_dir)
    at_large = stage_summaries(run_dir)
    blank = RunSummary(
        run_dir.name, "broken", n_bytes=sum(tensors.values()), stages=stages, records=records.text() if records else "",
        explanations=explanations.text() if explanations else "", scores=scores.text() if scores else "",
        skills=skills.text() if skills else "",
        weights=_text(at_large, "weights"), corpus_analysis=_text(at_large, CORPUS_ANALYSIS),
        comparisons=_text(at_large, COMPARISONS), circuits=_text(at_large, CIRCUITS),
        search=_text(at_large, SEARCH),
    )  # fmt: skip
    if MANIFEST not in sizes:
        if holder(run_dir):
            return replace(blank, status="writing")
        if JOURNAL in sizes:
            return replace(blank, status="stopped")
        if waiting:
            what = f"stopped while it was replaced: the run is in {waiting}; repeat the dump, or move its files back"
            return replace(blank, status="stopped", problem=what)
        return replace(blank, problem="no manifest and no journal")
    try:
        return _complete(run_dir, blank)
    except BadRunError as e:
        return replace(blank, problem=shorten(e.what, 200))
    except ValidationError as e:
        return replace(blank, problem=shorten(f"manifest: {first_error(e)}", 200))


def _text(found: Mapping[str, StageSummary], name: str) -> str:
    return found[name].text() if name in found else ""


class _Head(BaseModel):
    """What a listing shows of a manifest of either format."""

    model_config = ConfigDict(strict=True)

    model_name: Annotated[str, Field(max_length=1000)]
    created_at_utc: Annotated[str, Field(max_length=100)]
    n_prompts: Count | None
    n_tokens: Count | None = None
    files: list[FileRecord] = []
    activations_file: str | None


def _complete(run_dir: Path, blank: RunSummary) -> RunSummary:
    raw = read_summary(run_dir)
    version = raw.get("format_version")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        raise unknown_version(version)
    head = _Head.model_validate(raw)
    recorded: dict[str, int | None] = {f.name: f.bytes for f in head.files}
    if not recorded and head.activations_file:
        recorded = {head.activations_file: None}
    sizes = {n: p.stat().st_size if (p := inside(run_dir, n)).is_file() else None for n in recorded}
    wrong = [n for n, size in sizes.items() if size is None or recorded[n] not in (None, size)]
    return replace(
        blank,
        status="broken" if wrong else "complete",
        model=head.model_name,
        n_prompts=head.n_prompts,
        n_tokens=head.n_tokens,
        n_bytes=sum(s or 0 for s in sizes.values()),
        created_at_utc=head.created_at_utc,
        format_version=version,
        problem=f"{wrong[0]} is missing or of another size" if wrong else "",
    )


def _files(run_dir: Path) -> dict[str, int]:
    """Sizes of the files in the folder, by name. A file may vanish meanwhile, because a writer renames files."""
    sizes = {}
    with os.scandir(run_dir) as entries:
        for e in entries:
            with contextlib.suppress(FileNotFoundError):
                if e.name == MANIFEST or e.is_file():
                    sizes[e.name] = e.stat().st_size
    return sizes
