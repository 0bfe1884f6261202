"""`poc4_extract_records meanings`: several meanings of a neuron."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least
from neuron_signatures.cli.corpus_analysis.shared import (
    add_neuron_flags,
    add_output_flags,
    check_neuron_flags,
    make_base_parser,
    neuron_choice,
    print_summary,
    running,
)
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.runs.records.names import POLES, Pole

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.meanings.request import MeaningsRequest

_EMBEDDINGS = ("tokens", "minilm")


def main(argv: Sequence[str]) -> int:
    """Group the strongest windows of each neuron and pole by what they are about, beside windows of random neurons."""
    args = make_parser().parse_args(argv)
    check_neuron_flags(args)
    with running(args):
        from neuron_signatures.corpus_analysis.meanings.forecast import forecast
        from neuron_signatures.corpus_analysis.meanings.stage import find_meanings

        request = _request(args)
        if args.dry_run:
            return print_summary(forecast(request), as_json=args.json)
        return print_summary(find_meanings(request, progress_of(quiet=args.quiet)), as_json=args.json)


def make_parser() -> Parser:
    parser = make_base_parser("meanings", main.__doc__)
    add_neuron_flags(parser, default="those whose activations stage 4 stored, else all")
    group = parser.add_argument_group("which windows, and how they are compared")
    group.add_argument("--poles", type=_poles, default=POLES, metavar="LIST", help="+, - or +,-; default both")
    group.add_argument("--n_windows", type=at_least(2), default=100, metavar="N",
                       help="strongest windows of a list, at most; default 100")  # fmt: skip
    group.add_argument("--min_windows", type=at_least(2), default=10, metavar="N",
                       help="lists with fewer strong windows are not measured; default 10")  # fmt: skip
    group.add_argument("--embedding", choices=_EMBEDDINGS, default="tokens",
                       help="tokens needs no model; minilm embeds the text; default tokens")  # fmt: skip
    group.add_argument("--device", default="auto", help="of minilm: auto, cpu, cuda, cuda:N or mps; default auto")
    group.add_argument("--n_null", type=at_least(200), default=500, metavar="N",
                       help="draws of windows of random neurons; default 500")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of the draws and the embedding; default 0")
    add_output_flags(parser)
    return parser


def _request(args: Namespace) -> MeaningsRequest:
    from neuron_signatures.corpus_analysis.contexts import ContextSettings
    from neuron_signatures.corpus_analysis.meanings.request import MeaningsRequest

    return MeaningsRequest(
        run_dir=args.run_dir, choice=neuron_choice(args), contexts=ContextSettings(args.embedding, seed=args.seed),
        poles=args.poles, n_windows=args.n_windows, min_windows=args.min_windows, n_null=args.n_null, seed=args.seed,
        device=args.device,
    )  # fmt: skip


def _poles(text: str) -> tuple[Pole, ...]:
    names = [name.strip() for name in text.split(",")]
    if any(name not in POLES for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not +, - or +,-")
    return tuple(pole for pole in POLES if pole in names)
