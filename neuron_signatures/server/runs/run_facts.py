"""The list of runs, and what the manifest of one says."""

from __future__ import annotations

import os
from pathlib import Path

from neuron_signatures.api.runs import PromptItem, RunFacts, RunItem, RunList, StageItem
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.listing import RunSummary, summarise
from neuron_signatures.runs.manifest import bos_text
from neuron_signatures.runs.names import CIRCUITS, COMPARISONS, CORPUS_ANALYSIS
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.under_root import is_text, run_folder
from neuron_signatures.runs.units import unit_kind
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER
from neuron_signatures.server.held import GivenUp, Stop
from neuron_signatures.server.runs.opened import OpenedRun

MOST_PROMPTS = 100
MOST_TEXT = 1000
MOST_PROBLEMS = 10


def list_runs(root: Path | None, offset: int, limit: int, stop: Stop) -> RunList:
    """The runs among the folders `offset` to `offset + limit` of the root, by name. Broken runs are listed too.

    Without a root, or if it does not exist: no runs. Links to folders outside the root are not followed.
    """
    names = [] if root is None else _folders(root)
    found = []
    for name in names[offset : offset + limit]:
        if stop():
            raise GivenUp
        assert root is not None
        if (item := _item(root, name)) is not None:
            found.append(item)
    return RunList(total=len(names), offset=offset, runs=found)


def run_facts(opened: OpenedRun) -> RunFacts:
    """Raises `BadRunError` if the manifest cannot be read; files that are missing or damaged become `problems`."""
    run, m = opened.run, opened.run.manifest
    summary = summarise(opened.path)
    faults = [fault for name in run.file_names() for fault in run.check_file(name, check="size")]
    return RunFacts(
        name=opened.path.name, format_version=run.format_version, created_at_utc=m.created_at_utc,
        model_name=m.model_name, model_revision=m.model_revision, weights_fingerprint=m.weights_fingerprint,
        architecture=m.architecture, n_layers=m.n_layers, layers=m.layers, d_mlp=m.d_mlp, units=unit_kind(m),
        hook_name=m.hook_name, backend=m.backend, attn_implementation=m.attn_implementation,
        quantization=m.quantization, model_dtype=m.model_dtype, save_dtype=m.save_dtype, bos=bos_text(m), seed=m.seed,
        run_device=m.run_device, device_name=m.device_name, n_prompts=m.n_prompts, n_tokens=m.n_tokens,
        n_failed=len(m.failed_prompts), n_bytes=run.nbytes(), versions=m.versions,
        stages=[] if summary is None else _stages(summary),
        prompts=[PromptItem(id=encodable(p.probe_id), n_tokens=p.seq_len, text=encodable(p.text[:MOST_TEXT]))
                 for p in m.prompts[:MOST_PROMPTS]],
        problems=[fault.replace(str(opened.path), opened.path.name) for fault in faults[:MOST_PROBLEMS]],
    )  # fmt: skip


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            names = sorted(e.name for e in entries if is_text(e.name))
    except FileNotFoundError:
        return []
    except OSError as e:
        what = f"the runs root cannot be read ({e.strerror})"
        raise UsageError(what, next_step="Start with another --runs_root") from e
    return [name for name in names if (root / name).is_dir()]  # `DirEntry.is_dir` raises for a circular link


def _item(root: Path, name: str) -> RunItem | None:
    """None for a folder without a run, or elsewhere."""
    try:
        found = summarise(run_folder(root, name))
    except UsageError:
        return None
    except OSError as e:
        found = RunSummary(name, "broken", problem=f"cannot be read ({e.strerror or type(e).__name__})")
    if found is None:
        return None
    return RunItem(
        name=name, status=found.status, model_name=found.model, n_prompts=found.n_prompts, n_tokens=found.n_tokens,
        n_bytes=found.n_bytes, created_at_utc=found.created_at_utc, stages=found.stages, problem=found.problem,
    )  # fmt: skip


def _stages(summary: RunSummary) -> list[StageItem]:
    holds = {
        RECORDS: summary.records, EXPLANATIONS: summary.explanations, SCORES: summary.scores, SKILLS: summary.skills,
        WEIGHTS_FOLDER.folder: summary.weights, CORPUS_ANALYSIS: summary.corpus_analysis,
        COMPARISONS: summary.comparisons, CIRCUITS: summary.circuits,
    }  # fmt: skip
    return [StageItem(name=name, holds=holds.get(name, "")) for name in summary.stages]
