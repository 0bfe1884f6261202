"""Check the set-up: versions, GPU and memory, the Hub's cache, keys, disks, the terminal, and what to run next.

Reads:  the installation, the environment and --runs_root. Asks no other machine.
Writes: one line for each check to stdout. Keys are never shown. Exit code 1 if something is a problem.

    python -m neuron_signatures.doctor
    python -m neuron_signatures.doctor --quick --json
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from neuron_signatures.cli.arguments import folder
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    from neuron_signatures.cli.doctor.checkup import check_up

    found = check_up(args.runs_root, quick=args.quick)
    emit_json(found.fields()) if args.json else emit("\n".join(found.lines()))
    return ExitCode.OK if found.ok else ExitCode.FAILED


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.doctor", description=__doc__)
    parser.add_argument("--runs_root", type=folder, metavar="DIR",
                        default=folder(os.environ.get("NEURON_SIGNATURES_RUNS") or "runs"),
                        help="folder of runs; default runs, or NEURON_SIGNATURES_RUNS")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="run no model")
    parser.add_argument("--json", action="store_true", help="print the findings as one line of JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
