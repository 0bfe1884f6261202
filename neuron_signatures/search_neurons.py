"""Search: which neurons are about this, by words, by meaning, or by the tokens that they promote.

index  reads the explanations (stage 5) and the records (stage 4) of a run and writes RUN/search/ (docs/search.md)
  words.sqlite          the texts, each once, and their full-text index
  rows.safetensors      which pole of which neuron each text is about
  vectors.safetensors   a sentence embedding of each text, with --embedder minilm
  search_meta.json      the record, last
find   prints the neurons that fit a query; --by token needs no index, but `poc2_analyze_run --mode write_scores`

    python -m neuron_signatures.search_neurons index --run_dir runs/demo
    python -m neuron_signatures.search_neurons find --run_dir runs/demo "capital"
    python -m neuron_signatures.search_neurons find --run_dir runs/demo " Austin" --by token
    python -m neuron_signatures.search_neurons find --run_dir runs/demo "names of cities" --by meaning

Each command has --help.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli import search_find, search_index
from neuron_signatures.cli.command import command, ok
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import escape_controls

if TYPE_CHECKING:
    from neuron_signatures.runs.search.hits import Found

COMMANDS = {"index": search_index.make_parser, "find": search_find.make_parser}


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    make_parser().parse_args(argv[:1])
    args = COMMANDS[argv[0]]().parse_args(argv[1:])
    return _index(args) if argv[0] == "index" else _find(args)


def make_parser() -> Parser:
    parser = Parser(prog=search_index.PROG, usage="%(prog)s index|find [flags]", description=__doc__)
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="index|find", help="see above")
    return parser


def _index(args: Namespace) -> int:
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="run the same command again"):
        from neuron_signatures.search.stage import make_index, plan_index

        request = search_index.index_request(args)
        summary = plan_index(request) if args.dry_run else make_index(request, progress_of(quiet=args.quiet))
        emit_json(summary.fields()) if args.json else emit("\n".join(summary.lines()))
    return ok()


def _find(args: Namespace) -> int:
    setup_logging(quiet=False)
    from neuron_signatures.cli.search_hits import found_lines, hit_fields

    found = _found(args)
    if args.json:
        emit_json({"hits": [hit_fields(hit) for hit in found.hits], "notes": list(found.notes)})
    else:
        lines = found_lines(found)
        if not found.hits and args.by == "words":
            lines += _why_nothing(args)
        emit("\n".join(lines))
    return ok()


def _why_nothing(args: Namespace) -> list[str]:
    """What the run lacks for a search by words, with the command that makes it."""
    from neuron_signatures.runs.search.reader import Search
    from neuron_signatures.views.search_run.commands import missing

    contents = Search.open(args.run_dir).contents()
    lacks = missing(contents, args.run_dir).get("words")
    notes = [lacks.line] if lacks else [] if contents.has_index else list(contents.notes[:1])
    return [f"note: {escape_controls(note)}" for note in notes]


def _found(args: Namespace) -> Found:
    from neuron_signatures.runs.search.reader import Search

    search = Search.open(args.run_dir)
    scope = search_find.find_scope(args, search)
    if args.by == "words":
        return search.by_words(args.query, scope)
    if args.by == "token":
        return search.by_token(args.query, scope, suppressed=args.suppressed)
    from neuron_signatures.search.ask import embed_query, embedder_for

    embedder = embedder_for(search.contents(), args.embedder, device=args.device)
    return search.by_meaning(embed_query(embedder, args.query), scope)


if __name__ == "__main__":
    sys.exit(main())
