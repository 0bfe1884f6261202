"""Facts about a run: its health and its manifest; also for a folder that cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.listing import summarise
from neuron_signatures.runs.manifest import attention_text, bos_text, took_text, weights_text
from neuron_signatures.runs.manifest_file import read_summary
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.overview import summarise_scores
from neuron_signatures.runs.units import units_text, units_word
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.layout.facts import Fact, count, doubt_facts
from neuron_signatures.tui.run.opened_run import doubts_of
from neuron_signatures.views.neurons.facts import stages_of
from neuron_signatures.views.records.commands import has_records

_FAILED_FIRST = 3
"""Number of failed prompts listed after the verdict; the others come last."""

_RECORDS_LABELS = {"neurons": "recorded", "strongest": "lists", "activations kept": "kept", "made": "records made"}
"""Labels beside those of the run."""


class Health(NamedTuple):
    """Whether the data of a run can be used.

    `flawed`: the files are intact, but some values are not finite or some prompts failed. `uncounted`: intact, but
    format 1 does not record whether all values are finite.
    """

    verdict: Literal["sound", "uncounted", "flawed", "fault"]
    faults: list[str]
    """Missing or damaged files."""
    n_failed: int
    """Number of prompts without activations."""
    nonfinite: int | None
    """Number of NaN and infinite values, counted at writing; None if not recorded (format 1)."""
    checksums: bool = False
    """Whether checksums were compared; always False here."""


def health_of(run: Run) -> Health:
    """Check size and header of every tensor file; the number of non-finite values is from the manifest."""
    faults = [fault for name in run.file_names() for fault in run.check_file(name, check="size")]
    bad = sum(p.nonfinite for p in run.prompts) if run.format_version > 1 else None
    n_failed = len(run.manifest.failed_prompts)
    whole: Literal["sound", "uncounted"] = "uncounted" if bad is None else "sound"
    return Health("fault" if faults else "flawed" if bad or n_failed else whole, faults, n_failed, bad)


def run_facts(run: Run, health: Health) -> list[Fact]:
    """Health, model, prompts, files and environment of the run."""
    m = run.manifest
    revision = f" @ {m.model_revision}" if m.model_revision else " (no revision recorded)"
    failed = [Fact("failed", f"{f.prompt_id}: {f.reason}", "warn") for f in m.failed_prompts]
    facts = [
        *_verdict(run, health),
        *doubt_facts(doubts_of(run)),
        Fact("not finite", _nonfinite(run), "warn" if health.nonfinite else ""),
        *failed[:_FAILED_FIRST],
        Fact("run", f"{run.path.name} (format {run.format_version}, made {m.created_at_utc} by {m.stage})"),
        Fact("model", f"{m.model_name}{revision}"),
        Fact("", f"{m.architecture}, {m.model_dtype}, {attention_text(m)}, quantization {m.quantization}"),
        Fact(units_word(m), f"layers {spans(m.layers)} of {m.n_layers}, {units_text(m)} each"),
        Fact("hook", m.hook_name),
        Fact("prompts", f"{m.n_prompts}, {m.n_tokens} tokens" if m.n_prompts else "none"),
        *records_of(run.path),
        *scores_of(run.path),
        Fact("BOS", bos_text(m)),
        Fact(
            "stored",
            f"{human_bytes(run.nbytes())}, {m.save_dtype}, {count(len(run.file_names()), 'file')}"
            if run.prompts
            else "",
        ),
        Fact(
            "stages", ", ".join(stages_of(run.path)) or "none yet; next: python -m neuron_signatures.poc2_analyze_run"
        ),
        Fact("device", f"{m.run_device} ({m.device_name}) on {m.host}, time {took_text(m)}"),
        Fact("tokenizer", f"sha256 {m.tokenizer_sha256 or 'not recorded'}"),
        Fact("weights", weights_text(m)),
        Fact("code", f"git {m.git_revision or 'not recorded'}"),
        Fact("versions", ", ".join(f"{k} {v}" for k, v in m.versions.items()) or "not recorded"),
        Fact("flags", " ".join(m.flags_given) or "not recorded"),
        *failed[_FAILED_FIRST:],
    ]
    return [f for f in facts if f.text]


def records_of(run_dir: Path) -> list[Fact]:
    """Facts about the records of a corpus, or why they cannot be read; none for a run without records."""
    if not has_records(run_dir):
        return []
    from neuron_signatures.runs.records.reader import Records  # takes 0.03 s to import: not at the start
    from neuron_signatures.views.records.about import records_facts

    try:
        records = Records.open(run_dir)
    except (ProjectError, OSError) as e:
        return [Fact("records", fault_text(e), "warn")]
    try:
        facts = records_facts(records)
    finally:
        records.close()
    return [Fact(_RECORDS_LABELS.get(label, label), text) for label, text in facts]


def scores_of(run_dir: Path) -> list[Fact]:
    """What was scored; none for a run without scores."""
    found = summarise_scores(run_dir)
    return [] if found is None else [Fact("scores", found.text(), "warn" if found.problem else "")]


def fault_facts(run_dir: Path, fault: str) -> list[Fact]:
    """For a folder that cannot be opened: the fault, its status, and the readable part of its manifest."""
    facts = [Fact("FAULT", fault, "warn")]
    try:
        found = summarise(run_dir)
    except OSError as e:
        return [*facts, Fact("folder", e.strerror or str(e), "warn")]
    if found is None:
        return [*facts, Fact("folder", "it contains no files of a run")]
    states = {
        "writing": "a dump is being written here; r reloads",
        "stopped": "the dump was interrupted; finish it with poc1_dump_activations --resume",
        # The listing reads only the start of the manifest.
        "complete": "broken, although the files have the sizes given in the manifest",
    }
    facts.append(Fact("status", states.get(found.status, found.status)))
    facts.append(Fact("on disk", f"{human_bytes(found.n_bytes)} of activations"))
    try:
        head = read_summary(run_dir)
    except (ProjectError, OSError):
        return facts
    facts.append(Fact("what the manifest says"))
    return facts + [Fact(str(k), _short(v)) for k, v in head.items() if _short(v)]


def _verdict(run: Run, health: Health) -> list[Fact]:
    m, files = run.manifest, count(len(run.file_names()), "file")
    flaws = []
    if health.nonfinite:
        flaws.append(f"{health.nonfinite} of {m.n_tokens * len(m.layers) * m.d_mlp} values are not finite")
    if health.n_failed:
        flaws.append(f"{health.n_failed} of {m.n_prompts + health.n_failed} prompts failed")
    if health.faults:
        return [Fact("FAULT", f, "warn") for f in [*health.faults, *flaws]]
    whole = f"{files} with the sizes and shapes given in the manifest"
    if flaws:
        return [Fact("FLAWED", f"{', '.join(flaws)}; {whole}", "warn")]
    verify = f"python -m neuron_signatures.runs verify {run.path}"
    if not run.prompts and health.verdict == "sound":
        return [Fact("no prompts", f"the run holds records of a corpus; checksums are not compared here: {verify}")]
    if health.verdict == "uncounted":
        uncounted = "format 1 does not record whether all values are finite"
        return [Fact("not counted", f"{whole}; {uncounted}: {verify} checks the files, migrate counts them", "warn")]
    return [Fact("sound", f"{whole}, all values were finite when written; checksums are not compared here: {verify}")]


def _nonfinite(run: Run) -> str:
    if run.format_version == 1:
        return "not recorded in format 1"
    bad = [(p.probe_id, p.nonfinite) for p in run.prompts if p.nonfinite]
    return ", ".join(f"{count(n, 'value')} in {name}" for name, n in bad[:5]) + (
        f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    )


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text if len(text) <= 200 else text[:199] + "…"
