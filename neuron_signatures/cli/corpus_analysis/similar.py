"""`poc4_extract_records similar`: the neurons that are most like each neuron."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, parse_bytes
from neuron_signatures.cli.corpus_analysis.shared import (
    add_neuron_flags,
    add_output_flags,
    check_neuron_flags,
    make_base_parser,
    neuron_choice,
    print_summary,
    running,
)
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.runs.corpus_analysis.folder import SIMILARITIES, Similarity

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.similar.request import SimilarRequest


def main(argv: Sequence[str]) -> int:
    """Find the neurons that are most like each neuron: by activations on the corpus, and by their strongest windows."""
    args = make_parser().parse_args(argv)
    check_neuron_flags(args)
    with running(args):
        from neuron_signatures.corpus_analysis.similar.forecast import forecast
        from neuron_signatures.corpus_analysis.similar.stage import find_similar

        request = _request(args)
        if args.dry_run:
            return print_summary(forecast(request), as_json=args.json)
        return print_summary(find_similar(request, progress_of(quiet=args.quiet)), as_json=args.json)


def make_parser() -> Parser:
    parser = make_base_parser("similar", main.__doc__)
    add_neuron_flags(parser, default="those whose activations stage 4 stored, else all")
    group = parser.add_argument_group("what is compared")
    group.add_argument("--kinds", type=_kinds, default=SIMILARITIES, metavar="LIST",
                       help="activation (correlation on the corpus), windows (strongest windows in common), or both; "
                            "default both")  # fmt: skip
    group.add_argument("--candidates", choices=("all", "sampled"), default="all",
                       help="compare with all recorded neurons of the layers (runs the model), or only with those "
                            "whose activations are stored; default all")  # fmt: skip
    group.add_argument("--n_similar", type=at_least(1), default=10, metavar="N", help="per neuron or pole; default 10")
    group.add_argument("--sample_tokens", type=at_least(100), default=16384, metavar="N",
                       help="tokens of the part explain that correlations are computed on; default 16384")  # fmt: skip
    group.add_argument("--list_length", type=at_least(1), metavar="N",
                       help="strongest windows of each pole that are compared; default a tenth of the part's windows, "
                            "from 5 to 100")  # fmt: skip
    null = parser.add_argument_group("what unrelated neurons have in common")
    null.add_argument("--n_draws", type=at_least(1), default=50, metavar="N", help="null draws; default 50")
    null.add_argument("--null_neurons", type=at_least(0), default=50, metavar="N",
                      help="neurons that have a null, at most; default 50")  # fmt: skip
    null.add_argument("--seed", type=at_least(0), default=0, help="of the sample of tokens and the draws; default 0")
    add_rerun_flags(parser, dtype_help="precision of the model; default that of the records")
    running = parser.add_argument_group("how it runs")
    running.add_argument("--batch_size", type=at_least(1), metavar="N", help="windows that run together")
    running.add_argument("--cache", type=parse_bytes, default=parse_bytes("4GB"), metavar="SIZE",
                         help="keep activations in memory up to this size, else the model runs once for each reading; "
                              "default 4GB")  # fmt: skip
    add_output_flags(parser)
    return parser


def _request(args: Namespace) -> SimilarRequest:
    from neuron_signatures.corpus_analysis.similar.request import SimilarRequest

    return SimilarRequest(
        run_dir=args.run_dir, choice=neuron_choice(args), kinds=args.kinds, candidates=args.candidates,
        n_similar=args.n_similar, sample_tokens=args.sample_tokens, list_length=args.list_length,
        n_draws=args.n_draws, null_neurons=args.null_neurons, seed=args.seed, overrides=model_overrides(args),
        batch_size=args.batch_size, cache_bytes=args.cache,
    )  # fmt: skip


def _kinds(text: str) -> tuple[Similarity, ...]:
    names = [name.strip() for name in text.split(",")]
    if not names or any(name not in SIMILARITIES for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(SIMILARITIES)}")
    return tuple(kind for kind in SIMILARITIES if kind in names)
