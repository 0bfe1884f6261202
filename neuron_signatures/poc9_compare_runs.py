"""Stage 9: how does every neuron differ between checkpoints, or between a model and its fine-tune?

Reads:  two or more runs with the same prompts (or records of the same corpus), and their models for the weights;
        or checkpoints of a model and a prompts file, which are dumped first.
Writes: REFERENCE_RUN/comparisons/<name>/ (docs/poc9.md): checkpoints, drift, matches, models, steps and unaligned
        (Parquet), figures/, drift.html (an animation over the checkpoints, one file), comparison_meta.json

    python -m neuron_signatures.poc9_compare_runs --checkpoints demo --prompts_json docs/probe_prompts_list.json \\
        --out_dir runs/checkpoints
    python -m neuron_signatures.poc9_compare_runs --runs runs/base runs/fine_tuned
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from neuron_signatures.cli.command import command
from neuron_signatures.cli.compare_runs import add_flags, check_flags, run
from neuron_signatures.cli.model_flags import prepare_for_determinism
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args, parser.given(argv))
    setup_logging(quiet=args.quiet)
    if args.deterministic:
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again; finished dumps are kept"):
        return run(args, argv)


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.poc9_compare_runs", description=__doc__)
    add_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
