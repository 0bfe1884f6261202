"""Tools for run folders: `python -m neuron_signatures.runs list [ROOT] | show RUN | verify RUN | migrate RUN`.

Reads:  run folders. Writes: nothing, except `migrate`, which writes a new folder beside the old one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.cli.arguments import folder, parse_bytes
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import MAX_LINE, BadRunError, ExitCode, escape_controls, shorten
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.names import CIRCUITS, COMPARISONS, CORPUS_ANALYSIS, REPORT
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.tokens import escape, fit, visible

if TYPE_CHECKING:
    from neuron_signatures.runs.listing import RunSummary
    from neuron_signatures.runs.manifest import Manifest
    from neuron_signatures.runs.run import Run

_SHOWN_NAMES = {
    "weights": "weights", CORPUS_ANALYSIS: "corpus", COMPARISONS: "compared", CIRCUITS: "circuits", SEARCH: "search",
}  # fmt: skip
MAX_LINES, MAX_JSON = 100, 10_000
"""Most faults, and most remarks, that `verify` prints, and that `verify --json` holds."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=False)
    return int(args.do(args))


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.runs", description="List, show, verify and migrate run folders.")
    subs = parser.add_subparsers(
        required=True, metavar="list | show | verify | migrate", prog=parser.prog, parser_class=Parser
    )
    add = subs.add_parser("list", help="one line per run in a folder, including broken runs")
    add.add_argument("root", nargs="?", type=folder, default=Path("runs"), help="folder of runs (default: runs)")
    add.set_defaults(do=do_list)
    for name, do, text in (
        ("show", do_show, "the model, its settings and the prompts"),
        ("verify", do_verify, "check sizes, checksums, shapes and ids, and every result; exit 3 if one is wrong"),
        ("migrate", do_migrate, "write a format-1 run as format 2 beside the original"),
    ):
        add = subs.add_parser(name, help=text)
        add.add_argument("run", type=folder, help="run folder")
        add.set_defaults(do=do)
    add.add_argument("--out_dir", type=folder, help="folder to write (default: RUN_v2)")
    add.add_argument("--shard_size", type=parse_bytes, default=parse_bytes("512MB"), help="default 512MB")
    for sub in subs.choices.values():
        sub.add_argument("--json", action="store_true", help="JSON on stdout, one line per record")
    return parser


def do_list(args: Any) -> int:
    from neuron_signatures.runs.listing import list_runs

    name_columns = max(12, shutil.get_terminal_size((100, 24)).columns - 68)
    head = f"{'run':{name_columns}} {'status':9} {'model':18} {'prompts':>7} {'tokens':>8} {'size':>9}  stages"
    n = 0
    for n, r in enumerate(list_runs(args.root), start=1):
        if args.json:
            emit_json(r.__dict__)
            continue
        if n == 1:
            emit(head)
        row = f"{fit(escape(r.name), name_columns)} {r.status:9} {fit(escape(r.model), 18)} {_count(r.n_prompts):>7} "
        last = shorten(escape(shorten(r.problem, 200)), 200) or ", ".join(map(partial(_stage, r), r.stages))
        emit(row + f"{_count(r.n_tokens):>8} {human_bytes(r.n_bytes):>9}  {last}".rstrip())
    if n == 0 and not args.json:
        emit(f"no runs in {escape(str(args.root))}")
    return ExitCode.OK


def do_show(args: Any) -> int:
    from neuron_signatures.runs.manifest import join_some
    from neuron_signatures.runs.run import Run

    with Run.open(args.run) as run:
        names = run.file_names()
        faults = [fault for name in names for fault in run.check_file(name, check="size")]
        if args.json:
            emit_json({**run.manifest.model_dump(), "format_version": run.format_version})
        else:
            for line in _describe(run, f"{len(faults)} of {_files(len(names))} missing or damaged" if faults else ""):
                emit(line)
    if faults:
        raise BadRunError(join_some(faults, 1))
    return ExitCode.OK


def do_verify(args: Any) -> int:
    from neuron_signatures.runs.verify import verify_run

    found = verify_run(args.run)
    code = ExitCode.BAD_RUN if found.faults else ExitCode.OK
    if args.json:
        counts = {"n_faults": len(found.faults), "n_remarks": len(found.remarks)}
        lists = {"faults": found.faults[:MAX_JSON], "remarks": found.remarks[:MAX_JSON]}
        emit_json({"run": str(args.run), "ok": not found.faults, **found.__dict__, **counts, **lists})
        return code
    _emit_some("FAULT", found.faults)
    _emit_some("remark", found.remarks)
    what = "sizes, shapes, ids and sha256" if found.checksums else "shapes and ids (format 1 records no checksums)"
    if found.n_records:
        what += f"; {_files(found.n_result_files)} of {found.n_records} results: sizes and sha256"
    verdict = "broken" if found.faults else "complete"
    emit(f"{verdict}: {escape(str(args.run))}, {_files(found.n_files)}, {human_bytes(found.n_bytes)}; checked {what}")
    return code


def do_migrate(args: Any) -> int:
    from neuron_signatures.runs.migrate import migrate_run

    source = Path(os.path.realpath(args.run))  # `resolve` raises for circular links
    target = args.out_dir or source.parent / f"{source.name}_v2"
    migrate_run(source, target, shard_bytes=args.shard_size)
    emit_json({"run": str(target)}) if args.json else emit(f"written: {escape_controls(str(target))}")
    return ExitCode.OK


def _describe(run: Run, fault: str) -> list[str]:
    """`fault`: what is wrong with the tensor files, or empty."""
    from neuron_signatures.runs.explanations.summary import summarise_explanations
    from neuron_signatures.runs.manifest import attention_text, bos_text
    from neuron_signatures.runs.pipeline_record import read_pipeline
    from neuron_signatures.runs.records.summary import summarise_records
    from neuron_signatures.runs.scores.overview import summarise_scores
    from neuron_signatures.runs.skills.summary import summarise_skills
    from neuron_signatures.runs.stage_summaries import stage_summaries
    from neuron_signatures.runs.units import units_size, units_word

    m = run.manifest
    revision = f" at {m.model_revision}" if m.model_revision else ""
    rows = [
        ("run", f"{run.path} (format {run.format_version}, {m.created_at_utc})"),
        ("model", f"{m.model_name}{revision}, {m.architecture}, {m.model_dtype}"),
        ("device", f"{m.run_device} ({m.device_name}) on {m.host}, {attention_text(m)}{_threads(m)}"),
        (units_word(m), f"{len(m.layers)} of {m.n_layers} layers x {units_size(m)}, {m.hook_name}"),
        ("stored", fault or f"{human_bytes(run.nbytes())} {m.save_dtype} in {_files(len(run.file_names()))}"),
        ("prompts", f"{m.n_prompts}, {m.n_tokens} tokens, BOS {bos_text(m)}"),
    ]
    if records := summarise_records(run.path):
        rows.append(("records", records.text()))
    if explanations := summarise_explanations(run.path):
        rows.append(("explain", explanations.text()))
    if scores := summarise_scores(run.path):
        rows.append(("scores", scores.text()))
    if skills := summarise_skills(run.path):
        rows.append(("skills", skills.text()))
    large = stage_summaries(run.path)
    for name, found in large.items():
        rows.append((_SHOWN_NAMES[name], found.text()))
    if pipeline := read_pipeline(run.path):
        rows.append(("pipeline", pipeline.text()))
    if (page := run.path / REPORT).is_file():
        rows.append(("report", f"{REPORT}, {human_bytes(page.stat().st_size)}"))
    only = " and ".join(
        name
        for name, there in (("records", records), ("skills", skills), ("weight statistics", large.get("weights")))
        if there
    )
    if not m.prompts:
        rows[5:6] = [("prompts", f"none: this run holds only {only}" if only else "none")]
    lines = [f"{k:8} {_short(v)}" for k, v in rows]
    lines += [f"failed   {_short(f'{f.prompt_id}: {f.reason}')}" for f in m.failed_prompts]
    if not run.prompts:
        return lines
    text_columns = max(20, shutil.get_terminal_size((100, 24)).columns - 53)
    lines += ["", f"{'#':>4} {'id':24} {'tokens':>6} {'last token':14} text"]
    for i, p in enumerate(m.prompts):
        last, text = fit(visible(p.tokens[-1]), 14), fit(escape(p.text[: text_columns + 1]), text_columns).rstrip()
        lines.append(f"{i:>4} {fit(escape(p.probe_id[:25]), 24)} {p.seq_len:>6} {last} {text}")
    return lines


def _emit_some(kind: str, lines: Sequence[str]) -> None:
    for line in lines[:MAX_LINES]:
        emit(f"{kind:7} {_short(line)}")
    if len(lines) > MAX_LINES:
        emit(f"{kind:7} and {len(lines) - MAX_LINES} more")


def _short(text: str) -> str:
    return shorten(escape(shorten(text, MAX_LINE)), MAX_LINE)


def _threads(m: Manifest) -> str:
    if m.cpu_threads is None:
        return ""
    deterministic = ", deterministic" if m.flags_resolved.get("deterministic") is True else ""
    return f", {m.cpu_threads} CPU {'thread' if m.cpu_threads == 1 else 'threads'}{deterministic}"


def _stage(run: RunSummary, name: str) -> str:
    holds = {
        RECORDS: run.records, EXPLANATIONS: run.explanations, SCORES: run.scores, SKILLS: run.skills,
        "weights": run.weights, CORPUS_ANALYSIS: run.corpus_analysis, COMPARISONS: run.comparisons,
        CIRCUITS: run.circuits, SEARCH: run.search,
    }.get(name, "")  # fmt: skip
    return f"{name} ({escape(shorten(holds, 200))})" if holds else name


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n} files"


def _count(n: int | None) -> str:
    return "" if n is None else str(n)


if __name__ == "__main__":
    sys.exit(main())
