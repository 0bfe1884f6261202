"""The whole way in one command: dump, rank, records, explain, score, intervene, report, from one TOML file.

Reads:  a configuration (docs/pipeline.md) and what its steps read.
Writes: one run folder, by the stages, and RUN/pipeline.json: which steps are done, and by what they were made.

    python -m neuron_signatures.pipeline --config docs/pipelines/demo.toml --dry_run
    python -m neuron_signatures.pipeline --config docs/pipelines/demo.toml
    python -m neuron_signatures.pipeline --print_example > my.toml
"""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.cli.arguments import folder
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode, UsageError, escape_controls
from neuron_signatures.runs.files import counted

if TYPE_CHECKING:
    from neuron_signatures.steps.config import Config
    from neuron_signatures.steps.plan import Planned
    from neuron_signatures.steps.run import Options, Outcome


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    if args.print_example:
        from neuron_signatures.steps.example import EXAMPLE

        emit(EXAMPLE.rstrip("\n"))
        return ExitCode.OK
    if args.file is not None:
        raise UsageError("no flag before this configuration", where=args.file, next_step=f"Use --config {args.file}")
    if args.config is None:
        raise UsageError("no configuration: give --config FILE", next_step="--print_example prints one to start from")
    from neuron_signatures.steps.config import read_config
    from neuron_signatures.steps.run import Options, make_plan

    config = read_config(args.config)
    options = Options(args.overwrite, args.until, args.quiet, show=not args.json)
    if args.dry_run:
        make_plan(config, options, lambda plan: _show_plan(config, plan, args))
        return ExitCode.OK
    return _run(config, options, args)


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.pipeline", description=__doc__)
    parser.add_argument("--config", type=folder, metavar="FILE", help="TOML with a table for each stage")
    parser.add_argument("file", nargs="?", help=SUPPRESS)
    parser.add_argument("--dry_run", action="store_true", help="print what would be done and why; write nothing")
    parser.add_argument("--until", metavar="STEP", help="stop after this step, or after all steps of this table")
    parser.add_argument("--overwrite", action="store_true", help="replace what other settings have made")
    parser.add_argument("--quiet", action="store_true", help="no progress of the stages; only warnings on stderr")
    parser.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    parser.add_argument("--print_example", action="store_true", help="print a commented configuration and stop")
    return parser


def _run(config: Config, options: Options, args: Namespace) -> int:
    from neuron_signatures.steps.run import run_pipeline

    outcome = run_pipeline(config, options, lambda plan: _show_plan(config, plan, args) if options.show else None)
    if args.json:
        emit_json(_summary(config.path, outcome.run_dir, outcome.plan, outcome))
    else:
        ran = counted(len(outcome.ran), "step")
        n_done = len(outcome.plan) - len(outcome.ran)
        failed = f"; with failed requests: {', '.join(outcome.some_failed)}" if outcome.some_failed else ""
        emit(escape_controls(f"done: {outcome.run_dir}, {ran} run, {n_done} done before{failed}"))
    return ExitCode.FAILED if outcome.some_failed else ExitCode.OK


def _show_plan(config: Config, plan: list[Planned], args: Namespace) -> None:
    if args.json:
        emit_json(_summary(config.path, config.run_dir, plan, None))
        return
    todo = sum(p.action != "done" for p in plan)
    emit(escape_controls(f"{config.path} -> {config.run_dir}: {len(plan)} steps, {todo} to run"))
    width = max(len(p.step.name) for p in plan)
    for number, p in enumerate(plan, start=1):
        emit(escape_controls(f"{number:>3}  {p.step.name:{width}}  {p.text}"))
        if args.dry_run and p.action != "done":
            emit(escape_controls(f"     {p.step.command(*p.result_flags)}"))


def _summary(config: Path, run_dir: Path, plan: list[Planned], outcome: Outcome | None) -> dict[str, Any]:
    ran = {r.name: r for r in outcome.ran} if outcome else {}
    steps = [
        {
            "step": p.step.name,
            "table": p.step.stage.table,
            "action": p.action,
            "why": p.why,
            "command": p.step.command(*p.result_flags),
            "seconds": ran[p.step.name].seconds if p.step.name in ran else None,
            "some_failed": ran[p.step.name].some_failed if p.step.name in ran else False,
        }
        for p in plan
    ]
    return {"config": str(config), "run": str(run_dir), "ran": outcome is not None, "steps": steps}


if __name__ == "__main__":
    sys.exit(main())
