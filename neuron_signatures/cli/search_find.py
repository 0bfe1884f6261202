"""The flags of `search_neurons find`."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.search_index import PROG, add_scope_flags
from neuron_signatures.runs.search.names import BYS, PER_TEXT

if TYPE_CHECKING:
    from neuron_signatures.runs.search.hits import Scope
    from neuron_signatures.runs.search.reader import Search


def make_parser() -> Parser:
    parser = Parser(prog=f"{PROG} find", description="Find neurons of a run by words, by written token or by meaning.")
    parser.add_argument("query", metavar="QUERY", help='words, "a phrase", word*, L3N14-, set:NAME; a token; a meaning')
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="the run")
    parser.add_argument("--by", choices=BYS, default="words",
                        help="words (BM25), token (who promotes it) or meaning; default words")  # fmt: skip
    parser.add_argument("--suppressed", action="store_true", help="--by token: who suppresses it")
    add_scope_flags(parser, "searched", "both, and --by meaning explanations, if there are any")
    parser.add_argument("--top_k", type=at_least(1), default=20, metavar="K", help="hits; default 20")
    parser.add_argument("--per_text", type=at_least(1), default=PER_TEXT, metavar="N",
                        help=f"hits of one text, which many neurons can share; default {PER_TEXT}")  # fmt: skip
    parser.add_argument("--embedder", metavar="MODEL",
                        help="--by meaning: that of the index, if it is not minilm: a folder, or a Hub id")  # fmt: skip
    parser.add_argument("--device", default="auto", help="of the embedder: auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--json", action="store_true", help="print the hits as one line of JSON on stdout")
    return parser


def find_scope(args: Namespace, search: Search) -> Scope:
    """Raises `BadRunError` if the run cannot be read, `UsageError` for layers that its model does not have and for
    flags of another way of searching."""
    from neuron_signatures.runs.errors import UsageError
    from neuron_signatures.runs.layer_numbers import parse_layers
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.search.hits import Scope, usual_kinds

    if args.suppressed and args.by != "token":
        raise UsageError(f"not with --by {args.by}", where="--suppressed", next_step="Give --by token")
    if args.kinds and args.by == "token":
        raise UsageError("written tokens are of no kind", where="--kinds", next_step="Leave it out with --by token")
    with Run.open(args.run_dir) as run:
        layers = None if args.layers is None else tuple(parse_layers(args.layers, run.manifest.n_layers))
    return Scope(args.kinds or usual_kinds(args.by, search.contents()), layers, args.top_k, args.per_text)
