"""Text panels: headings, manifest, finished stages, and commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.widgets.elements import as_html, empty
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.explanations.summary import summarise_explanations
from neuron_signatures.runs.manifest import Manifest, attention_text, bos_text, took_text
from neuron_signatures.runs.names import CORPUS_ANALYSIS, spans
from neuron_signatures.runs.results import ANALYSIS, WRITES_META, list_interventions, list_validations
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.overview import summarise_scores
from neuron_signatures.runs.stage_summaries import stage_summaries
from neuron_signatures.runs.tokens import brief
from neuron_signatures.runs.units import units_text
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER
from neuron_signatures.views.at_large.commands import corpus_command, weights_command
from neuron_signatures.views.explanations.commands import explain_command
from neuron_signatures.views.lists.ranked import ListRef
from neuron_signatures.views.records.commands import has_records, records_command
from neuron_signatures.views.scores.commands import score_command

VALIDATE = ("--influence_metric", "all", "--validate")
NO_PROMPTS = "none: this run holds records of a corpus"
BOS_HELP = (
    "The first position of every prompt, BOS or not, has large activations that carry little information, so it is "
    "excluded by default."
)


def heading(text: str, note: str = "") -> None:
    """A title with a note; both may come from data."""
    st.html(
        f'<div style="display:flex;flex-wrap:wrap;align-items:baseline;gap:.2rem .9rem">'
        f'<span style="font-size:1.6rem;font-weight:600;overflow-wrap:anywhere">{as_html(brief(text))}</span>'
        f'<span style="opacity:.65;overflow-wrap:anywhere">{as_html(brief(note))}</span></div>'
    )


def main_facts(run: Run) -> list[tuple[str, str]]:
    """What was run on what."""
    m = run.manifest
    failed = f", {len(m.failed_prompts)} failed" if m.failed_prompts else ""
    return [
        ("model", m.model_name),
        ("stored", f"layers {spans(m.layers)} of {m.n_layers}, {units_text(m)} each"),
        ("prompts", f"{m.n_prompts:,}, {count_of(m.n_tokens, 'token')}{failed}" if run.prompts else NO_PROMPTS),
        ("made", m.created_at_utc),
    ]


def technical_facts(run: Run) -> list[tuple[str, str]]:
    """The other fields of the manifest, with `not recorded` for missing ones."""
    m, unknown = run.manifest, "not recorded"
    return [
        ("revision", revision(m)),
        ("architecture", m.architecture or unknown),
        ("hook", m.hook_name),
        ("computed in", f"{m.model_dtype}, quantization {m.quantization}, {attention_text(m)}"),
        ("BOS", bos_text(m)),
        ("tokenizer", (m.tokenizer_sha256 or unknown)[:16]),
        ("made by", m.stage),
        ("on", f"{m.host}, {m.run_device} ({m.device_name})"),
        ("took", took_text(m)),
        ("stored as", f"{m.save_dtype}, {size(run.nbytes())} in {count_of(len(run.file_names()), 'file')}"),
        ("format", str(run.format_version)),
        ("flags", " ".join(m.flags_given) or unknown),
        ("git revision", m.git_revision or unknown),
        ("libraries", ", ".join(f"{k} {v}" for k, v in m.versions.items()) or unknown),
    ]  # fmt: skip


def revision(m: Manifest) -> str:
    return m.model_revision or m.weights_fingerprint or "not recorded"


def stage_lines(
    run_dir: Path, lists: Sequence[ListRef], prompt_id: str | None
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The results of the stages as label and text; the missing ones of stages 2, 4, 5, 6 and 8 as text and command.

    `prompt_id` is None for a run without prompts, of which stage 2 computes nothing.
    """
    if prompt_id is None:
        return _corpus_lines(run_dir)
    kinds = {kind: [r for r in lists if r.kind == kind] for kind in ("peaks", "influence", "signatures", "contrast")}
    validations = list_validations(run_dir)
    done = [("activations", "stored")]
    done += [(kind, f"{r.title}, {r.created_at_utc}" + (f" ({r.problem})" if r.problem else ""))
             for kind in ("peaks", "signatures") for r in kinds[kind]]  # fmt: skip
    done += [("influence", count_of(len(kinds["influence"]), "ranking"))] if kinds["influence"] else []
    done += [("contrasts", count_of(len(kinds["contrast"]), "contrast"))] if kinds["contrast"] else []
    done += [("validation", f"{count_of(len(validations), 'validation')} against ablations")] if validations else []
    edits = list_interventions(run_dir)
    done += [("interventions", count_of(len(edits), "result"))] if edits else []
    has_writes = (run_dir / ANALYSIS / WRITES_META).is_file()
    done += [("write scores", "of every neuron, from the weights")] if has_writes else []
    recorded, unrecorded = _corpus_lines(run_dir)
    done += recorded
    commands = {
        "peaks": stage_2(run_dir),
        "signatures": stage_2(run_dir, "--mode", "signatures"),
        "influence": influence_command(run_dir, prompt_id),
    }
    missing = [(f"No {kind} yet", commands[kind]) for kind in commands if not kinds[kind]]
    if not has_writes:
        missing.append(("No write scores yet", stage_2(run_dir, "--mode", "write_scores")))
    if kinds["influence"] and not validations:
        missing.append(("No validation yet", influence_command(run_dir, prompt_id, *VALIDATE)))
    return done, missing + unrecorded


def _corpus_lines(run_dir: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Records, the explanations that are written from them, and their scores."""
    done, missing = _records_line(run_dir)
    more, unmade = _at_large_lines(run_dir)
    done, missing = [*done, *more], [*missing, *unmade]
    found = summarise_explanations(run_dir)
    if found is not None:
        scores = summarise_scores(run_dir)
        done += [("explanations", found.text())] + ([("scores", scores.text())] if scores is not None else [])
        return done, [*missing, *([("No scores yet", score_command(run_dir))] if scores is None else [])]
    return done, missing if not has_records(run_dir) else [*missing, ("No explanations yet", explain_command(run_dir))]


def _at_large_lines(run_dir: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Weights, analyses of the corpus, and comparisons; of the first two, how to make them."""
    found = stage_summaries(run_dir)
    done = [(folder.replace("_", " "), summary.text()) for folder, summary in found.items()]
    missing = [] if WEIGHTS_FOLDER.folder in found else [("No weight statistics yet", weights_command(run_dir))]
    if CORPUS_ANALYSIS not in found and has_records(run_dir):
        missing.append(("No similar neurons on the corpus yet", corpus_command(run_dir, "similar")))
    return done, missing


def _records_line(run_dir: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    if has_records(run_dir):
        return [("records", "of a corpus, for every neuron")], []
    return [], [("No records of a corpus yet", records_command(run_dir))]


def no_prompts(run: Run) -> None:
    """The empty state of a view that needs prompts."""
    m = run.manifest
    command = [
        "python", "-m", "neuron_signatures.poc1_dump_activations", "--prompts_json", "docs/probe_prompts_list.json",
        "--model_name", m.model_name, "--out_dir", f"{run.path}_prompts",
    ]  # fmt: skip
    empty(
        "This view needs activations on prompts, and this run holds only records of a corpus. This command makes a run "
        "of prompts with the same model:",
        shlex.join(command),
    )


def stage_2(run_dir: Path, *flags: str) -> str:
    """A shell command for stage 2, with quoted names."""
    return shlex.join(["python", "-m", "neuron_signatures.poc2_analyze_run", "--run_dir", str(run_dir), *flags])


def stage_3(run_dir: Path, *flags: str) -> str:
    """A shell command for stage 3, with quoted names."""
    return shlex.join(["python", "-m", "neuron_signatures.poc3_intervene", "--run_dir", str(run_dir), *flags])


def dump_command(run_dir: Path) -> str:
    """A shell command that creates a run with the included demo model."""
    return shlex.join(
        ["python", "-m", "neuron_signatures.poc1_dump_activations", "--prompts_json", "docs/probe_prompts_list.json",
         "--model_name", "demo", "--out_dir", str(run_dir)]
    )  # fmt: skip


def start_command(root: Path, run: str) -> str:
    return shlex.join(
        ["streamlit", "run", "neuron_signatures/eda_streamlit.py", "--", "--runs_root", str(root), "--run", run]
    )


def influence_command(run_dir: Path, prompt_id: str, *flags: str) -> str:
    return stage_2(run_dir, "--mode", "influence", "--prompt_id", prompt_id, *flags)


def size(n_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes} bytes"
