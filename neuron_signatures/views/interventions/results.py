"""The interventions of a run: what there is, newest first, and reading one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs import results
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.intervention_records import EffectRecord, SteerRecord, SwapRecord
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.result_records import another_dump, read_record
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.interventions.labels import InterventionRecord, title, verdict

_RECORDS: dict[str, type[SwapRecord] | type[EffectRecord] | type[SteerRecord]] = {
    "swap": SwapRecord, "effect": EffectRecord, "steer": SteerRecord,
}  # fmt: skip
_EXAMPLE = ("--mode", "swap", "--prompt_id", "{prompt_id}", "--source_text",
            "The capital of the state containing Oakland is")  # fmt: skip


class ResultRef(NamedTuple):
    """One intervention of a run, for display."""

    stem: str
    mode: str
    title: str
    verdict: str
    created_at_utc: str
    problem: str = ""
    """Why it cannot be read; empty if it can."""
    doubt: str = ""
    """Why it may be of another dump."""

    @property
    def label(self) -> str:
        """The title with its time."""
        return f"{self.title}  {self.created_at_utc[:16].replace('T', ' ')}".rstrip()


def intervention_refs(run_dir: Path, manifest: Manifest) -> list[ResultRef]:
    """The interventions, newest first; then those that cannot be read or are not finished. No two labels are equal."""
    found = [_ref(run_dir, stem, manifest) for stem in results.list_interventions(run_dir)]
    readable = sorted((r for r in found if not r.problem), key=lambda r: (r.created_at_utc, r.stem), reverse=True)
    broken = [r for r in found if r.problem]
    unfinished = [
        ResultRef(stem, _mode(stem), brief(stem), "", "", f"not finished: there is no {results.meta_name(brief(stem))}")
        for stem in results.unfinished_interventions(run_dir)
    ]
    n = Counter(r.label for r in readable)
    distinct = [r._replace(title=f"{r.title} [{brief(r.stem)}]") if n[r.label] > 1 else r for r in readable]
    return [*distinct, *broken, *unfinished]


def read_intervention(run_dir: Path, stem: str) -> InterventionRecord:
    """The record of a result. Raises `UsageError` if there is none, `BadRunError` if it is damaged."""
    model = _RECORDS.get(_mode(stem))
    if model is None:
        raise UsageError(f"there is no intervention {brief(stem)!r}")
    return read_record(run_dir, f"{stem}.json", model)


def example_flags(prompt_id: str) -> list[str]:
    """Flags of stage 3 for a first intervention, as a hint."""
    return [flag.format(prompt_id=prompt_id) if flag == "{prompt_id}" else flag for flag in _EXAMPLE]


def problem_lines(refs: Iterable[ResultRef]) -> list[str]:
    """One line for each result that cannot be read, is not finished, or may be of another dump."""
    return [f"{r.stem}: {r.problem or r.doubt}" for r in refs if r.problem or r.doubt]


def _ref(run_dir: Path, stem: str, manifest: Manifest) -> ResultRef:
    try:
        record = read_intervention(run_dir, stem)
    except ProjectError as e:
        return ResultRef(stem, _mode(stem), brief(stem), "", "", f"{e.what} (in {brief(stem)}.json)")
    doubt = another_dump(manifest, record)
    return ResultRef(stem, _mode(stem), title(record), verdict(record), record.created_at_utc, doubt=doubt)


def _mode(stem: str) -> str:
    return stem.partition("_")[0]
