"""One program for every stage and tool: `neuron-signatures COMMAND [flags]`, or `python -m neuron_signatures`.

`neuron-signatures COMMAND` is the same program as `python -m neuron_signatures.<module>`, with the same flags.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.cli.command import command, ok
from neuron_signatures.cli.output import emit
from neuron_signatures.cli.parser import Parser, started_as


class Command(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "dump": Command(
        "poc1_dump_activations", "run prompts through a model and store the activations of every MLP neuron"
    ),
    "rank": Command("poc2_analyze_run", "rank the neurons of a run: peaks, influence, signatures"),
    "browse": Command("poc1_browse_activations", "browse a run in the terminal"),
    "explore": Command("eda_streamlit", "explore runs in a web page; flags after -- go to `streamlit run`"),
    "intervene": Command(
        "poc3_intervene", "change neurons and look at what the model then says: effects, swaps, steering"
    ),
    "records": Command(
        "poc4_extract_records", "what every neuron does on a corpus: strongest windows, moments, histograms"
    ),
    "explain": Command(
        "poc5_explain_neurons", "what neurons respond to, in words: by a language model or look-up rules; edit and vote"
    ),
    "score": Command(
        "poc6_score_explanations",
        "how good explanations are, with nulls, intervals and the best possible; compare sets",
    ),
    "skills": Command(
        "poc7_compare_skills", "which features, neurons and directions belong to a skill, and do they carry it"
    ),
    "weights": Command(
        "poc8_weights", "what the weights alone say about every neuron: statistics, classes, neighbours"
    ),
    "compare": Command(
        "poc9_compare_runs", "how every neuron differs between checkpoints, or between a model and its fine-tune"
    ),
    "circuit": Command(
        "poc10_trace_circuit", "the circuit of one prediction: which neurons made the answer, and by which paths"
    ),
    "search": Command("search_neurons", "find neurons by words, by meaning, or by the tokens that they promote"),
    "pipeline": Command("pipeline", "the whole way from one TOML file: dump, rank, records, explain, score, report"),
    "report": Command(
        "report", "write one HTML file with what a run says about one answer, for people without the tool"
    ),
    "serve": Command("serve", "serve a live model and runs over HTTP, for the explorer and your own programs"),
    "runs": Command("runs.__main__", "list, show, verify or migrate run folders"),
    "models": Command("models.__main__", "list the supported models, or show facts about one model"),
    "doctor": Command("doctor", "check the set-up: versions, GPU, memory, caches, keys, and what to run next"),
}
SHELLS = ("bash", "zsh", "tcsh", "fish")


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    prog = "python -m neuron_signatures" if Path(sys.argv[0]).name == "__main__.py" else "neuron-signatures"
    parser = make_parser(prog)
    args = parser.parse_args(argv[:1] if argv and argv[0] in COMMANDS else argv)
    if args.version:
        from importlib.metadata import version

        emit(f"neuron-signatures {version('neuron-signatures')}")
    elif args.print_completion:
        import shtab

        emit(shtab.complete(_full_parser(), args.print_completion))
    elif args.command is None:
        emit(parser.format_help().rstrip())
    elif args.command == "explore":
        return _explore(argv[1:], f"{prog} explore")
    else:
        with started_as(f"{prog} {args.command}"):
            return int(import_module(f"neuron_signatures.{COMMANDS[args.command].module}").main(argv[1:]))
    return ok()


def make_parser(prog: str = "neuron-signatures", *, parser_of: Callable[..., Parser] = Parser) -> Parser:
    """The parser of the program. `parser_of` makes the parser of a subcommand from `prog`; by default it has no flags,
    because building it would import the stage."""
    parser = Parser(prog=prog, usage="%(prog)s COMMAND [flags]", description=__doc__)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--print_completion", choices=SHELLS, help="print a completion script for this shell")
    subs = parser.add_subparsers(  # type: ignore[call-overload]  # any callable that takes `prog` will do
        dest="command", title="commands", metavar="COMMAND", prog=prog, parser_class=parser_of
    )
    for name, entry in COMMANDS.items():
        subs.add_parser(name, help=entry.summary)
    return parser


def _full_parser() -> Parser:
    """The parser with the flags of every subcommand, for shell completion. Path arguments complete to paths."""
    import shtab

    from neuron_signatures.cli.arguments import folder

    def parser_of(prog: str) -> Parser:
        module = import_module(f"neuron_signatures.{COMMANDS[prog.rpartition(' ')[2]].module}")
        parser: Parser = module.make_parser()
        for action in parser._actions:
            if action.type is folder:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        return parser

    return make_parser(parser_of=parser_of)


def _explore(argv: Sequence[str], prog: str) -> int:
    """Check the flags, then start Streamlit on the explorer. What follows `--` are flags of `streamlit run`."""
    split = argv.index("--") if "--" in argv else len(argv)
    flags, streamlit_flags = list(argv[:split]), list(argv[split + 1 :])
    page = import_module("neuron_signatures.eda_streamlit")
    parser = page.make_parser()
    parser.prog = prog
    parser.parse_args(flags)
    from streamlit.web.cli import main as streamlit

    return int(streamlit(["run", *streamlit_flags, page.__file__, "--", *flags], prog_name="streamlit") or 0)


if __name__ == "__main__":
    sys.exit(main())
