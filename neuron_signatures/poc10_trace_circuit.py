"""Stage 10: the circuit of one prediction, in the neuron basis: which neurons made the answer, and by which paths.

Reads:  a run folder and the model that made it; labels come from the run's explanations, if it has some.
Writes: RUN/circuits/<name>/ (docs/poc10.md)
  nodes.parquet, edges.parquet   neurons at positions, tokens and rest nodes; direct, total and measured effects
  heads.parquet                  share of each attention head in an edge, with --heads
  graph.json                     the graph for public viewers of attribution graphs
  suggested_groups.json          neurons that belong together
  trace_meta.json                the record, last

    python -m neuron_signatures.poc10_trace_circuit --run_dir runs/demo --target_token " Austin" --foil_token " Atlanta"
    python -m neuron_signatures.poc10_trace_circuit --run_dir runs/demo --cases states.json --dry_run
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli import trace_circuit as flags
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.cli.trace_circuit import check_flags
from neuron_signatures.runs.errors import ExitCode

if TYPE_CHECKING:
    from neuron_signatures.runs.run import Run

__all__ = ["check_flags", "main", "make_parser"]


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args, parser.given(argv))
    setup_logging(quiet=args.quiet)
    if args.deterministic:
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again"):
        from neuron_signatures.runs.run import Run
        from neuron_signatures.runs.units import need_neurons

        with Run.open(args.run_dir, check="sha256") as run:
            need_neurons(run, "stage 10")
            if args.import_file is not None:
                _import(run, args)
            else:
                if args.cases is None:
                    run.prompt(args.prompt_id)  # before torch is imported, which takes seconds
                _trace(run, args)
    return ExitCode.OK


def _trace(run: Run, args: Namespace) -> None:
    request = flags.trace_request(args)
    from neuron_signatures.circuits.report import trace_lines, trace_summary
    from neuron_signatures.circuits.stage import plan_trace, run_trace

    progress = progress_of(quiet=args.quiet)
    if args.dry_run:
        planned = plan_trace(run, request, progress)
        emit_json(planned.fields()) if args.json else emit("\n".join(planned.lines()))
        return
    done = run_trace(run, request, progress)
    emit_json(trace_summary(run.path, done)) if args.json else emit("\n".join(trace_lines(run.path, done)))


def _import(run: Run, args: Namespace) -> None:
    from neuron_signatures.circuits.imports import import_circuit
    from neuron_signatures.circuits.outcome import imported
    from neuron_signatures.circuits.report import trace_lines, trace_summary

    found = import_circuit(run, args.import_file, name=args.name, export=args.export, overwrite=args.overwrite)
    done = imported(run, found, args.export, overwrite=args.overwrite)
    emit_json(trace_summary(run.path, done)) if args.json else emit("\n".join(trace_lines(run.path, done)))


def make_parser() -> Parser:
    return flags.make_parser(__doc__)


if __name__ == "__main__":
    sys.exit(main())
