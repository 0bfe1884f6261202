"""Stage 8: what the weights alone say about every neuron, and which neurons have nearly the same weights.

Reads:  a model: that of the run in --run_dir, or --model_name for a new run that holds no prompts. The counts of tokens
        come from the run's corpus (stage 4), if it has one.
Writes: RUN/weights/ (docs/poc8.md)
  statistics.parquet         every neuron: moments of its logit effect, norms, cosines of its weights, a class
  random_directions.parquet  the same of random directions: what chance gives
  neighbours.parquet         ten neurons with the largest |cosine| by output weights, input weights and gate
  neighbour_null.parquet     the largest |cosine| of neurons whose coordinates are permuted
  figures/                   pictures, with --figures
  statistics_meta.json       the record, last

    python -m neuron_signatures.poc8_weights --run_dir runs/demo --figures png
    python -m neuron_signatures.poc8_weights --out_dir runs/smol --model_name smollm2
    python -m neuron_signatures.poc8_weights --out_dir runs/gemma --model_name google/gemma-2-2b --dry_run
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from neuron_signatures.cli import weights as flags
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(argv)
    flags.check_target(args)
    setup_logging(quiet=args.quiet)
    if args.deterministic:
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again"):
        run, request = flags.find_run(args), flags.weights_request(args)
        from neuron_signatures.weights.report import weights_lines, weights_summary
        from neuron_signatures.weights.stage import is_finished, plan_weights, read_finished, run_weights

        if args.dry_run:
            planned = plan_weights(flags.weights_target(args, argv, run), request)
            emit_json(planned.fields()) if args.json else emit(planned.line())
            return ExitCode.OK
        another_model = run is not None and args.model_name not in (None, run.manifest.model_name)
        if run is None or args.overwrite or another_model or not is_finished(run, request, args.model_dtype):
            run = run_weights(flags.weights_target(args, argv, run), request, progress_of(quiet=args.quiet))
        found = read_finished(run)
        if args.figures:
            from neuron_signatures.weights.figures import write_figures

            write_figures(run, found, args.figures)
        emit_json(weights_summary(run.path, found)) if args.json else emit("\n".join(weights_lines(run.path, found)))
    return ExitCode.OK


def make_parser() -> Parser:
    return flags.make_parser(__doc__)


if __name__ == "__main__":
    sys.exit(main())
