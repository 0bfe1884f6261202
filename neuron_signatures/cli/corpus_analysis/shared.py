"""The flags that the subcommands of stage 4 on records share, and how they print their summary."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.model_flags import prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.choice import NeuronChoice

PROG = "python -m neuron_signatures.poc4_extract_records"


class Summary(Protocol):
    """What a subcommand found, or would do (`--dry_run`)."""

    def lines(self) -> list[str]:
        """For people."""

    def fields(self) -> dict[str, Any]:
        """The same as JSON; undefined numbers are NaN or None."""


def make_base_parser(mode: str, description: str | None) -> Parser:
    """A parser with the flag of the run; the others are added after it."""
    parser = Parser(prog=f"{PROG} {mode}", description=description)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run with records of a corpus")
    return parser


def add_neuron_flags(parser: Parser, *, default: str) -> None:
    """Which neurons a subcommand is about; `check_neuron_flags` goes with it."""
    group = parser.add_argument_group(f"which neurons (default: {default})")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--neurons", dest="names", metavar="LIST", help="such as L3N508,L4N178")
    which.add_argument("--from", dest="from_list", metavar="LIST",
                       help="the first --top_k of a list: its file stem, peaks, signatures or group:NAME")  # fmt: skip
    which.add_argument("--all", action="store_true", help="every neuron of the recorded layers")
    group.add_argument("--top_k", type=at_least(1), metavar="K", help="of --from; default 100")
    group.add_argument("--layers", metavar="LIST", help="only these recorded layers, such as 0,3-5")


def check_neuron_flags(args: Namespace) -> None:
    """Raise `UsageError` for flags that do not go together."""
    if args.top_k is not None and args.from_list is None:
        raise UsageError("--top_k counts the neurons of --from", next_step="Give --from LIST too")


def neuron_choice(args: Namespace) -> NeuronChoice:
    """What the flags of `add_neuron_flags` say."""
    from neuron_signatures.corpus_analysis.choice import NeuronChoice

    return NeuronChoice(args.names, args.from_list, args.all, args.top_k or 100, args.layers)


def add_output_flags(parser: Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--dry_run", action="store_true", help="print what would be done and what it takes; then stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")


@contextlib.contextmanager
def running(args: Namespace) -> Iterator[None]:
    """Within the block a subcommand computes: logging and determinism are set up, signals stop it (code 75)."""
    setup_logging(quiet=args.quiet)
    if getattr(args, "deterministic", False):
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again"):
        yield


def print_summary(summary: Summary, *, as_json: bool) -> int:
    """Write the summary to stdout. Returns the exit code."""
    from neuron_signatures.runs.plain import strict

    emit_json(strict(summary.fields())) if as_json else emit("\n".join(summary.lines()))
    return int(ExitCode.OK)
