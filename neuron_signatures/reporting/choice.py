"""Which question a report answers: an influence result, its prompt, and the ranking of neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from neuron_signatures.reporting.settings import Settings
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.result_records import InfluenceRecord, read_record
from neuron_signatures.runs.results import meta_name
from neuron_signatures.runs.run import Run
from neuron_signatures.views.lists.list_files import read_list
from neuron_signatures.views.lists.ranked import ListRef, RankedList
from neuron_signatures.views.lists.validated import Validated, landing_list, validations


@dataclass(frozen=True)
class Choice:
    """The question. Without an influence result, `ranked` is another list of the run, or None."""

    prompt: PromptRecord | None = None
    ref: ListRef | None = None
    record: InfluenceRecord | None = None
    """Of an influence result."""
    ranked: RankedList | None = None
    validated: Validated | None = None
    """Its numbers in the validation that measured it."""
    others: Mapping[str, Validated] = field(default_factory=dict)
    """All validated lists by stem."""
    problem: str = ""
    """Why the list cannot be read."""

    @property
    def is_answer(self) -> bool:
        """Whether the ranking is about the prediction of a token."""
        return self.record is not None


def choose(run: Run, refs: Sequence[ListRef], settings: Settings) -> Choice:
    """The influence result that the flags name, else that of the newest validated target that validation found best,
    else the newest.

    Raises `UsageError` for an influence result or a prompt that the run does not have.
    """
    prompt = None if settings.prompt_id is None else run.prompt(settings.prompt_id)
    influence = [r for r in refs if r.kind == "influence" and not r.problem]
    checked = validations(run.path, influence)
    if settings.influence is not None:
        ref: ListRef | None = _named(refs, settings.influence)
    else:
        ref = _newest(run, influence, checked, prompt) or (None if prompt else landing_list(run.path, refs))
    if ref is None:
        return Choice(prompt or (run.prompts[0] if run.prompts else None), others=checked)
    return _opened(run, ref, prompt, checked)


def _named(refs: Sequence[ListRef], stem: str) -> ListRef:
    stem = stem.removesuffix(".parquet").removesuffix("_meta.json").removesuffix(".json")
    known = {r.stem: r for r in refs if r.kind == "influence"}
    if stem in known:
        return known[stem]
    near = get_close_matches(stem, known, n=1, cutoff=0.3)
    if near:
        raise UsageError(f"no influence result {stem!r}", next_step=f"Did you mean {near[0]}?")
    raise UsageError(
        f"no influence result {stem!r}, the run has none",
        next_step="Make one with `python -m neuron_signatures.poc2_analyze_run --mode influence`",
    )


def _newest(
    run: Run, influence: Sequence[ListRef], checked: Mapping[str, Validated], prompt: PromptRecord | None
) -> ListRef | None:
    """Of the results of a prompt (or of all): the best of the newest validation, else the newest."""
    own = [r for r in influence if prompt is None or _prompt_of(run, r) == prompt.probe_id]
    first = next((r for r in own if r.stem in checked), None)
    if first is not None:
        of_same = [r for r in own if r.stem in checked and checked[r.stem].stem == checked[first.stem].stem]
        return landing_list(run.path, of_same)
    return own[0] if own else None


def _prompt_of(run: Run, ref: ListRef) -> str | None:
    record = _record(run, ref)
    return None if record is None else record.prompt_id


def _record(run: Run, ref: ListRef) -> InfluenceRecord | None:
    """None for a list in CSV or JSON, whose record is not one of ours, and for one that cannot be read."""
    if ref.kind != "influence":
        return None
    try:
        return read_record(run.path, meta_name(ref.stem), InfluenceRecord)
    except ProjectError:
        return None


def _opened(run: Run, ref: ListRef, prompt: PromptRecord | None, checked: Mapping[str, Validated]) -> Choice:
    record, ranked, problem = _record(run, ref), None, ""
    try:
        ranked = read_list(run.path, ref)
    except ProjectError as e:
        problem = e.line()
    own = _known_prompt(run, record.prompt_id if record else ranked.prompt_id if ranked else None)
    if prompt is not None and own is not None and own.probe_id != prompt.probe_id:
        raise UsageError(
            f"{ref.stem} is about the prompt {own.probe_id!r}, not {prompt.probe_id!r}",
            next_step="Give --prompt_id or --influence, not both",
        )
    shown = own or prompt or (run.prompts[0] if run.prompts else None)
    return Choice(shown, ref, record, ranked, checked.get(ref.stem), checked, problem)


def _known_prompt(run: Run, prompt_id: str | None) -> PromptRecord | None:
    return next((p for p in run.prompts if p.probe_id == prompt_id), None)
