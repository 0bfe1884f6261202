"""`poc4_extract_records ngrams`: tokens, bigrams and trigrams to neurons and clusters, and back."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, parse_bytes
from neuron_signatures.cli.corpus_analysis.ngram_queries import ask_cluster, ask_neuron, ask_text
from neuron_signatures.cli.corpus_analysis.shared import add_output_flags, make_base_parser, print_summary, running
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import POLES

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.ngrams.request import NgramsRequest

_QUERIES = {"query", "query_neuron", "query_cluster"}
_ALWAYS = {"run_dir", "json", "quiet", "help"}


def main(argv: Sequence[str]) -> int:
    """Index the n-grams of the corpus by what every neuron does at them, or ask the index (--query ...), which needs no
    model."""
    parser = make_parser()
    args = parser.parse_args(argv)
    given = parser.given(list(argv))
    if given & _QUERIES:
        if idle := sorted(given - _QUERIES - _ALWAYS):
            raise UsageError("has no effect with a query", where=f"--{idle[0]}", next_step="Leave it away")
        return _ask(args)
    with running(args):
        from neuron_signatures.corpus_analysis.ngrams.forecast import forecast
        from neuron_signatures.corpus_analysis.ngrams.stage import index_ngrams

        request = _request(args)
        if args.dry_run:
            return print_summary(forecast(request), as_json=args.json)
        return print_summary(index_ngrams(request, progress_of(quiet=args.quiet)), as_json=args.json)


def make_parser() -> Parser:
    parser = make_base_parser("ngrams", main.__doc__)
    queries = parser.add_argument_group("ask the index").add_mutually_exclusive_group()
    queries.add_argument("--query", metavar="TEXT",
                         help="the neurons and clusters of an n-gram; spaces count, such as ' Austin'")  # fmt: skip
    queries.add_argument("--query_neuron", metavar="NEURON",
                         help="the n-grams of a neuron, such as L3N113, or of one pole: L3N113-")  # fmt: skip
    queries.add_argument("--query_cluster", metavar="NAME:N",
                         help="the n-grams of a cluster, such as activations-kmeans-20:3")  # fmt: skip
    group = parser.add_argument_group("what is indexed")
    group.add_argument("--layers", metavar="LIST", help="only these recorded layers, such as 0,3-5")
    group.add_argument("--min_count", type=at_least(1), default=5, metavar="N",
                       help="positions of an n-gram in the part explain, at least; default 5")  # fmt: skip
    group.add_argument("--max_ngrams", type=at_least(1), default=5000, metavar="N",
                       help="tokens, bigrams and trigrams each, the most frequent; default 5000")  # fmt: skip
    group.add_argument("--top", type=at_least(1), default=20, metavar="N",
                       help="neurons of an n-gram, and n-grams of a pole or cluster; default 20")  # fmt: skip
    add_rerun_flags(parser, dtype_help="precision of the model; default that of the records")
    running = parser.add_argument_group("how it runs")
    running.add_argument("--max_memory", type=parse_bytes, default=parse_bytes("2GB"), metavar="SIZE",
                         help="of the sums; layers that do not fit together need another run of the model; "
                              "default 2GB")  # fmt: skip
    running.add_argument("--batch_size", type=at_least(1), metavar="N", help="windows that run together")
    add_output_flags(parser)
    return parser


def _ask(args: Namespace) -> int:
    if args.query is not None:
        return print_summary(ask_text(args.run_dir, args.query), as_json=args.json)
    if args.query_neuron is not None:
        match = re.fullmatch(r"L(\d{1,5})N(\d{1,8})([+-]?)", args.query_neuron, re.ASCII)
        if match is None:
            what = f"{args.query_neuron!r} is not a neuron"
            raise UsageError(what, where="--query_neuron", next_step="Write it as L3N113, L3N113+ or L3N113-")
        poles = tuple(pole for pole in POLES if match[3] in (pole, ""))
        return print_summary(ask_neuron(args.run_dir, int(match[1]), int(match[2]), poles), as_json=args.json)
    name, colon, number = args.query_cluster.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,8}", number, re.ASCII):
        what = f"{args.query_cluster!r} is not a cluster"
        raise UsageError(what, where="--query_cluster", next_step="Write it as activations-kmeans-20:3")
    return print_summary(ask_cluster(args.run_dir, name, int(number)), as_json=args.json)


def _request(args: Namespace) -> NgramsRequest:
    from neuron_signatures.corpus_analysis.ngrams.request import NgramsRequest

    return NgramsRequest(
        run_dir=args.run_dir, layers=args.layers, min_count=args.min_count, max_ngrams=args.max_ngrams, top=args.top,
        max_memory=args.max_memory, overrides=model_overrides(args), batch_size=args.batch_size,
    )  # fmt: skip
