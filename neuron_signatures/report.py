"""A report of a run: one HTML file for people who do not have the tool, with everything the run says about one answer.

Reads:  a run folder of any completeness. Writes: `report.html`, which needs no network and runs no scripts.

    python -m neuron_signatures.report --run_dir runs/demo
    python -m neuron_signatures.report --run_dir runs/demo --prompt_id seed_prompt --top_k 5 --out answer.html
"""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.command import command, ok
from neuron_signatures.cli.output import emit, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.reporting.settings import MAX_BYTES, MAX_TOP_K, Settings
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import REPORT


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=False)
    from neuron_signatures.reporting.writing import check_target, write_report

    if not args.run_dir.is_dir():
        raise BadRunError("there is no such run folder", where=str(args.run_dir))
    target = args.out or args.run_dir / REPORT
    check_target(target, overwrite=args.overwrite)
    settings = Settings(prompt_id=args.prompt_id, influence=args.influence, top_k=args.top_k)
    for line in write_report(args.run_dir, settings, target):
        emit(line)
    return ok()


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.report", description=__doc__)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="the run folder")
    which = parser.add_argument_group("which answer", "default: the one whose ranking was validated last")
    which.add_argument("--prompt_id", metavar="ID", help="the prompt, by id or index; its newest validated ranking")
    which.add_argument(
        "--influence", metavar="STEM", help="an influence result, by the name of its files without the ending"
    )
    which.add_argument(
        "--top_k", type=_top_k, default=10, metavar="N", help=f"neurons of the ranking, 1 to {MAX_TOP_K}; default 10"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--out", type=folder, metavar="FILE", help=f"the file; default: {REPORT} in the run folder")
    out.add_argument(
        "--overwrite", action="store_true", help="replace a file that is not a report; an earlier report always is"
    )
    parser.epilog = f"The file has at most {MAX_BYTES / 1e6:g} MB; it says what was left out to stay below."
    return parser


def _top_k(text: str) -> int:
    value = at_least(1)(text)
    if value > MAX_TOP_K:
        raise ArgumentTypeError(f"{value} is above {MAX_TOP_K}")
    return value


if __name__ == "__main__":
    sys.exit(main())
