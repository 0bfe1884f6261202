"""`poc4_extract_records contrast`: which neurons tell positions A from positions B."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least
from neuron_signatures.cli.corpus_analysis.shared import add_output_flags, make_base_parser, print_summary, running
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.contrast.request import ContrastRequest


def main(argv: Sequence[str]) -> int:
    """Test every neuron: do its activations at positions A differ from those at positions B?"""
    args = make_parser().parse_args(argv)
    with running(args):
        from neuron_signatures.corpus_analysis.contrast.forecast import forecast
        from neuron_signatures.corpus_analysis.contrast.stage import make_contrast

        request = _request(args)
        if args.dry_run:
            return print_summary(forecast(request), as_json=args.json)
        return print_summary(make_contrast(request, progress_of(quiet=args.quiet)), as_json=args.json)


def make_parser() -> Parser:
    parser = make_base_parser("contrast", main.__doc__)
    sides = parser.add_argument_group("the sides: [DOCUMENTS@]POSITIONS, positions all, token:TEXT, before:TEXT, "
                                      "after:TEXT, ngram:TEXT, regex:REGEX; spaces count")  # fmt: skip
    sides.add_argument("--a", required=True, metavar="SET", help="such as 'token: Austin' or 'code-*@token:def|class'")
    sides.add_argument("--b", metavar="SET", help="such as 'token: Houston'; default rest: all other positions")
    sides.add_argument("--name", metavar="NAME", help="of the result; default made of the sides")
    group = parser.add_argument_group("what is compared")
    group.add_argument("--layers", metavar="LIST", help="only these recorded layers, such as 0,3-5")
    group.add_argument("--unit", choices=("document", "window"), default="document",
                       help="each gives one position to one side; default document")  # fmt: skip
    group.add_argument("--max_positions", type=at_least(2), default=500, metavar="N",
                       help="of each side and part; default 500")  # fmt: skip
    group.add_argument("--n_null", type=at_least(0), default=50, metavar="N",
                       help="permutations of the labels, to count neurons found by chance; default 50")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of samples and permutations; default 0")
    add_rerun_flags(parser, dtype_help="precision of the model; default that of the records")
    running = parser.add_argument_group("how it runs")
    running.add_argument("--batch_size", type=at_least(1), metavar="N", help="windows that run together")
    add_output_flags(parser)
    return parser


def _request(args: Namespace) -> ContrastRequest:
    from neuron_signatures.corpus_analysis.contrast.request import ContrastRequest

    return ContrastRequest(
        run_dir=args.run_dir, a=args.a, b=args.b, name=args.name, layers=args.layers, unit=args.unit,
        max_positions=args.max_positions, n_null=args.n_null, seed=args.seed, overrides=model_overrides(args),
        batch_size=args.batch_size,
    )  # fmt: skip
