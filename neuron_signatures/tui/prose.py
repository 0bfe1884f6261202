"""Text that is read rather than walked through: facts about the run, what the results say about a neuron, help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.listing import summarise
from neuron_signatures.runs.manifest_file import read_summary
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.pieces import Line, Piece, line, number, safe, size, token_text, wrap
from neuron_signatures.tui.session import Notes
from neuron_signatures.views.coords import NeuronAt, spans
from neuron_signatures.views.facts import Signature, WriteScores, stages_of


class Fact(NamedTuple):
    """A label and what is so; a label alone is a heading."""

    label: str
    text: str = ""
    style: str = ""


def laid_out(facts: Iterable[Fact], columns: int, *, label_room: int = 15) -> list[Line]:
    """Facts as lines, long ones wrapped beside their label. Texts are made safe here."""
    lines: list[Line] = []
    for f in facts:
        if not f.text:
            lines.append(line(Piece(safe(f.label)[:columns], f.style or "head")))
            continue
        room = min(label_room, columns // 3)
        for i, part in enumerate(wrap(safe(f.text), columns - room - 1)):
            label = safe(f.label)[:room] if i == 0 else ""
            lines.append(line(Piece(f"{label:{room}} ", "dim"), Piece(part, f.style)))
    return lines


def run_facts(run: Run) -> list[Fact]:
    """What was run on what, what is there, and what is wrong with it."""
    m = run.manifest
    faults = [fault for name in run.file_names() for fault in run.check_file(name, check="size")]
    verdict = [Fact("FAULT", f, "warn") for f in faults] or [
        Fact("sound", f"{_count(len(run.file_names()), 'file')} of the size and shapes that the manifest names")
    ]
    revision = f" @ {m.model_revision}" if m.model_revision else " (no revision recorded)"
    facts = [
        *verdict,
        Fact("run", f"{run.path.name} (format {run.format_version}, made {m.created_at_utc} by {m.stage})"),
        Fact("model", f"{m.model_name}{revision}"),
        Fact(
            "", f"{m.architecture}, {m.model_dtype}, {m.attn_implementation} attention, quantization {m.quantization}"
        ),
        Fact("neurons", f"layers {spans(m.layers)} of {m.n_layers}, {m.d_mlp} neurons each"),
        Fact("hook", m.hook_name),
        Fact("prompts", f"{m.n_prompts}, {m.n_tokens} tokens"),
        Fact("BOS", f"{m.bos_policy}, id {'not recorded' if m.bos_token_id is None else m.bos_token_id}"),
        Fact("stored", f"{human_bytes(run.nbytes())}, {m.save_dtype}, {_count(len(run.file_names()), 'file')}"),
        Fact(
            "stages", ", ".join(stages_of(run.path)) or "none yet; next: python -m neuron_signatures.poc2_analyze_run"
        ),
        Fact("not finite", _nonfinite(run)),
        Fact("device", f"{m.run_device} ({m.device_name}) on {m.host}, {m.wall_seconds:.1f} s"),
        Fact("tokenizer", f"sha256 {m.tokenizer_sha256 or 'not recorded'}"),
        Fact("weights", m.weights_fingerprint or "identified by the revision"),
        Fact("code", f"git {m.git_revision or 'not recorded'}"),
        Fact("versions", ", ".join(f"{k} {v}" for k, v in m.versions.items()) or "not recorded"),
        Fact("flags", " ".join(m.flags_given) or "not recorded"),
    ]
    facts += [Fact("failed", f"{f.prompt_id}: {f.reason}", "warn") for f in m.failed_prompts]
    return [f for f in facts if f.text]


def fault_facts(run_dir: Path, fault: str) -> list[Fact]:
    """A folder that cannot be opened: the fault, how it stands, and as much of its manifest as can be read."""
    facts = [Fact("FAULT", fault, "warn")]
    try:
        found = summarise(run_dir)
    except OSError as e:
        return [*facts, Fact("folder", e.strerror or str(e), "warn")]
    if found is None:
        return [*facts, Fact("folder", "it holds nothing of a run")]
    states = {
        "writing": "a dump is writing here now; r looks again",
        "stopped": "a dump was stopped here; finish it with poc1_dump_activations --resume",
    }
    facts.append(Fact("status", states.get(found.status, found.status)))
    facts.append(Fact("on disk", f"{human_bytes(found.n_bytes)} of activations"))
    try:
        head = read_summary(run_dir)
    except (ProjectError, OSError):
        return facts
    facts.append(Fact("what the manifest says"))
    return facts + [Fact(str(k), _short(v)) for k, v in head.items() if _short(v)]


def notes_facts(at: NeuronAt, notes: Notes | None, stages: Sequence[str]) -> list[Fact]:
    """Signatures of both poles, write scores, explanations: what is there, and how to make what is not."""
    if notes is None:
        return [Fact("notes", "reading ...")]
    facts: list[Fact] = []
    for s in notes.signatures:
        facts += _signature(s)
    for w, sources in _merged(notes.write_scores):
        facts += _write_scores(w, sources)
    facts += [Fact("missing", text, "dim") for text in notes.missing]
    for folder in ("explanations", "scores"):
        there = "the folder is there, but this version reads no such results" if folder in stages else ""
        facts.append(Fact(folder, there or f"no {folder} in this run yet", "" if there else "dim"))
    return facts


def notes_record(notes: Notes, stages: Sequence[str]) -> dict[str, Any]:
    return {
        "signatures": [s._asdict() for s in notes.signatures],
        "write_scores": [
            {**w._asdict(), **{k: [x._asdict() for x in getattr(w, k)] for k in ("promotes", "suppresses")}}
            for w in notes.write_scores
        ],
        "missing": list(notes.missing), "explanations": [], "stages": list(stages),
    }  # fmt: skip


def _signature(s: Signature) -> list[Fact]:
    name = f": {s.name}" if s.name else ""
    facts = [Fact(f"pole {s.pole}", f"{s.cls}{name}")]
    token = "" if s.mode_peak_token is None else f", most on {token_text(s.mode_peak_token)}"
    facts.append(Fact("", f"active on {_count(s.n_active, 'prompt')}, peak {size(s.max_peak)}{token}"))
    if s.consistency is not None:
        between = "" if s.low is None or s.high is None else f" [{s.low:.2f}, {s.high:.2f}]"
        facts.append(Fact("", f"consistency {s.consistency:.2f}{between}"))
    return facts


def _merged(scores: Sequence[WriteScores]) -> list[tuple[WriteScores, str]]:
    """The same numbers that came with several results once, with the names of all."""
    found: dict[str, tuple[WriteScores, str]] = {}
    for w in scores:
        key = repr(w._replace(source="", activation=0.0))
        found[key] = (w, f"{found[key][1]}, {w.source}") if key in found else (w, w.source)
    return list(found.values())


def _write_scores(w: WriteScores, sources: str) -> list[Fact]:
    up, down = (
        "  ".join(f"{token_text(x.token)} {number(x.score, 3)}" for x in side[:6])
        for side in (w.promotes, w.suppresses)
    )
    return [Fact("promotes", up or "nothing"), Fact("suppresses", down or "nothing"),
            Fact("", f"{w.unit}; {w.prompt_id} at {w.pos}", "dim"), Fact("", f"from {sources}", "dim")]  # fmt: skip


def _nonfinite(run: Run) -> str:
    bad = [(p.probe_id, p.nonfinite) for p in run.prompts if p.nonfinite]
    return ", ".join(f"{_count(n, 'value')} in {name}" for name, n in bad[:5]) + (
        f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    )


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _count(n: int, what: str) -> str:
    return f"1 {what}" if n == 1 else f"{n} {what}s"


def heading(text: str) -> list[Line]:
    return [line(Piece(safe(text), "title"))]
