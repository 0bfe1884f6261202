"""The flags of `search_neurons index`."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING, Final, cast

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.search.names import KINDS, STAGE, Kind

if TYPE_CHECKING:
    from neuron_signatures.search.request import IndexRequest

PROG: Final = f"python -m neuron_signatures.{STAGE}"


def make_parser() -> Parser:
    parser = Parser(prog=f"{PROG} index", description="Index the explanations and exemplars of a run.")
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="the run")
    add_scope_flags(parser, "indexed", "both")
    parser.add_argument("--exemplars", type=at_least(1), default=3, metavar="N",
                        help="strongest windows of each pole; default 3")  # fmt: skip
    parser.add_argument("--embedder", default="auto", metavar="MODEL",
                        help="for the search by meaning: minilm, a folder, a name on the Hub, or none; default auto: "
                             "minilm if its package is installed, else none")  # fmt: skip
    parser.add_argument("--device", default="auto", help="of the embedder: auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--batch_size", type=at_least(1), default=64, metavar="N",
                        help="texts that are embedded together; default 64")  # fmt: skip
    parser.add_argument("--dry_run", action="store_true", help="print what would be indexed; then stop")
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    parser.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def index_request(args: Namespace) -> IndexRequest:
    from neuron_signatures.search.request import IndexRequest

    return IndexRequest(
        run_dir=args.run_dir, kinds=args.kinds or KINDS, exemplars=args.exemplars, layers=args.layers,
        embedder=args.embedder, device=args.device, batch_size=args.batch_size,
    )  # fmt: skip


def add_scope_flags(parser: Parser, done: str, default: str) -> None:
    """Without `--kinds`, `kinds` is None: the default."""
    parser.add_argument("--kinds", type=_kinds, metavar="LIST",
                        help=f"what is {done}: explanation,exemplar; default {default}")  # fmt: skip
    parser.add_argument("--layers", metavar="LIST", help="only these layers, such as 0,3-5")


def _kinds(text: str) -> tuple[Kind, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not names or any(name not in KINDS for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(KINDS)}")
    return cast(tuple[Kind, ...], tuple(kind for kind in KINDS if kind in names))
