"""How it was made: commands, versions, seeds, cost, and files with their checksums."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, bullet_list, code, command, facts, fold, p, problem, table
from neuron_signatures.reporting.section import Section
from neuron_signatures.runs.bounded_json import RECORD_BYTES, parse_json
from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.llm.ledger import Ledger, read_ledger
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.names import META, STAGE_FOLDERS
from neuron_signatures.runs.opening import NotReadableError, read_regular
from neuron_signatures.runs.tokens import brief

_MOST_RECORDS = 300
_SEED_NAMES = ("seed", "seeds")


class StageFile(NamedTuple):
    """A file of a result, with the record that lists it."""

    name: str
    bytes: int
    sha256: str


class StageRun(NamedTuple):
    """What a stage record says about how it was made. Everything is as read: escape it."""

    record: str
    stage: str
    mode: str
    created_at_utc: str
    flags: tuple[str, ...]
    """As given; empty where the record has none."""
    settings: dict[str, Any]
    files: tuple[StageFile, ...]
    problem: str = ""


def provenance(run: ReportRun) -> Section:
    m = run.run.manifest
    lead = text("What is needed to make this run again, and to check that its files are the ones that were written.")
    records = list(stage_runs(run.run.path))
    body = [el("h3", "Commands"), *_commands(m, records), el("h3", "Settings"), facts(_settings(m, records))]
    body += [_cost(run), _files(run, m, records), *_notes(run)]
    body += [problem(f"{r.record}: {r.problem}") for r in records if r.problem]
    return Section("made", "How it was made", lead, body)


def stage_runs(run_dir: Path) -> Iterator[StageRun]:
    """Every stage record of the run in order of time; damaged ones have a problem."""
    found = []
    for folder in STAGE_FOLDERS:
        if (run_dir / folder).is_symlink():
            continue
        for path in sorted((run_dir / folder).glob(f"*{META}"))[:_MOST_RECORDS]:
            if not path.is_symlink():
                found.append(_read(path, f"{folder}/{path.name}"))
    yield from sorted(found, key=lambda r: (r.created_at_utc, r.record))


def _read(path: Path, name: str) -> StageRun:
    blank = StageRun(name, "", "", "", (), {}, ())
    try:
        raw = parse_json(read_regular(path, max_bytes=RECORD_BYTES))
    except (OSError, NotReadableError, ValueError) as e:
        return blank._replace(problem=brief(str(e)))
    if not isinstance(raw, dict):
        return blank._replace(problem="not a JSON object")
    stage, mode, created = (str(raw.get(key) or "") for key in ("stage", "mode", "created_at_utc"))
    flags, settings = raw.get("flags_given"), raw.get("settings")
    return StageRun(
        name, stage, mode, created, tuple(map(str, flags)) if isinstance(flags, list) else (),
        settings if isinstance(settings, dict) else raw, tuple(_listed(raw, name.partition("/")[0])),
    )  # fmt: skip


def _listed(raw: dict[str, Any], folder: str) -> Iterator[StageFile]:
    files = raw.get("files")
    for f in files if isinstance(files, list) else []:
        if isinstance(f, dict) and isinstance(f.get("bytes"), int):
            yield StageFile(f"{folder}/{f.get('name')}", f["bytes"], str(f.get("sha256")))


def _commands(m: Manifest, records: list[StageRun]) -> list[Html]:
    """The commands that are stored; the stages that do not store theirs are named."""
    shown: dict[str, None] = {}
    if m.flags_given:
        shown[_line(m.stage, m.flags_given)] = None
    silent: dict[str, int] = {}
    for r in records:
        if r.flags:
            shown[_line(r.stage, r.flags)] = None
        elif r.stage:
            what = f"{r.stage} --mode {r.mode}" if r.stage in ("poc2_analyze_run", "poc3_intervene") else r.stage
            silent[what] = silent.get(what, 0) + 1
    parts = [command(brief_line(line)) for line in list(shown)[:40]]
    if silent:
        names = [join([code(brief(s)), f", {n} result{'s' if n > 1 else ''}"]) for s, n in silent.items()]
        parts += [p("These results store their settings and not the command line; their records have them:"),
                  bullet_list(names, class_="small")]  # fmt: skip
    return parts or [p("No command is recorded.")]


def _line(stage: str, flags: tuple[str, ...] | list[str]) -> str:
    return f"python -m neuron_signatures.{stage} {shlex.join(flags)}"


def brief_line(line: str) -> str:
    return line if len(line) <= 1500 else f"{line[:1500]} …"


def _settings(m: Manifest, records: list[StageRun]) -> list[tuple[str, str]]:
    seeds: dict[str, None] = {}
    if m.seed is not None:
        seeds[f"dump {m.seed}"] = None
    for r in records:
        for name in _SEED_NAMES:
            if isinstance(r.settings.get(name), int | list):
                seeds[f"{_short(r.record)} {r.settings[name]}"] = None
    versions = ", ".join(f"{name} {version}" for name, version in m.versions.items())
    return [
        ("seeds", brief(", ".join(seeds)) or "none recorded"),
        ("code", brief(m.git_revision or "") or "not recorded"),
        ("versions", brief(versions) or "not recorded"),
        ("host", brief(f"{m.host}, {m.device_name}")),
        ("dump took", human_seconds(m.wall_seconds) if m.wall_seconds else ""),
    ]


def _short(record: str) -> str:
    """`swap`, `validation`, `corpus`: the first word of a record's name."""
    return record.partition("/")[2].removesuffix(META).partition("_")[0]


def _cost(run: ReportRun) -> Html:
    """What language models cost, by stage, from the ledger."""
    title = el("h3", "Cost of language models")
    read = attempt(lambda: read_ledger(RequestFiles(run.run.path)))
    if read.value is None:
        return join([title, problem(read.problem)])
    if not read.value.stages:
        return join([title, p("No request to a language model is recorded in this run.")])
    return join([title, _ledger(read.value)])


def _ledger(ledger: Ledger) -> Html:
    columns = [Column("stage", False), Column("requests"), Column("failed"), Column("prompt tokens"),
               Column("answer tokens"), Column("USD"), Column("models", False)]  # fmt: skip
    rows = []
    for name, a in sorted(ledger.stages.items()):
        models = ", ".join(dict.fromkeys(x for names in a.answered_by.values() for x in names))
        cost = "no price known" if a.without_price else f"{a.cost:.4g}"
        rows.append([brief(name), f"{a.requests:,}", f"{a.failed:,}", f"{a.prompt_tokens:,}",
                     f"{a.completion_tokens:,}", cost, brief(models)])  # fmt: skip
    return table(columns, rows)


def _files(run: ReportRun, m: Manifest, records: list[StageRun]) -> Html:
    """Every file that the manifest and the records list."""
    listed = [StageFile(f.name, f.bytes, f.sha256) for f in m.files]
    listed += [f for r in records for f in r.files]
    if not listed:
        return p("No checksums are recorded.")
    shown = listed[: run.detail.files]
    rows = [[el("span", brief(f.name), class_="hash"), human_bytes(f.bytes), el("span", brief(f.sha256), class_="hash")]
            for f in shown]  # fmt: skip
    more = p(f"and {len(listed) - len(shown)} more") if len(listed) > len(shown) else None
    title = f"{len(listed)} files with their sha256 as recorded (the command runs verify checks them)"
    columns = [Column("file", False), Column("size"), Column("sha256", False)]
    return fold(title, table(columns, rows), more, printed=False)


def _notes(run: ReportRun) -> list[Html]:
    left_out = run.detail.left_out()
    return [p(left_out)] if left_out else []
