"""Stage 1, reading: browse a run in the terminal, by keyboard or mouse, over SSH. No model, no GPU, no network.

Reads:  a run folder, or a folder of runs. Writes: nothing (its key `e` exports into the current folder).

    python -m neuron_signatures.poc1_browse_activations --run_dir runs/poc1_test
    python -m neuron_signatures.poc1_browse_activations --run_dir runs/poc1_test --layer 3 --neuron 508 --print text
"""

from __future__ import annotations

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.command import command, ok
from neuron_signatures.cli.output import emit
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError
from neuron_signatures.tui.options import LIST_SCREENS, NAMED_SCREENS, SCREENS, SEARCH_WAYS, Options

_OF_ONE_RUN = ("prompt_idx", "prompt_id", "layer", "neuron", "ctx_idx", "list", "query")
# No matrix products here: thread pools and an allocator that keeps freed memory only cost memory.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


@command
def main(argv: Sequence[str] | None = None) -> int:
    options = _options(args := make_parser().parse_args(argv))
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if args.print:
        from neuron_signatures.tui.printing import printed

        columns = shutil.get_terminal_size((100, 24)).columns
        for text in printed(options, args.print, columns=columns, encoding=sys.stdout.encoding or "ascii"):
            emit(text)
        return ok()
    _require_terminal()
    from neuron_signatures.tui.app import browse

    return browse(options)


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.poc1_browse_activations", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--run_dir", type=folder, metavar="DIR", help="the run; default: choose one in --runs_root")
    which.add_argument("--runs_root", type=folder, default=Path("runs"), metavar="DIR", help="default: runs")
    where = parser.add_argument_group(
        "start position", "without any of these: the first neuron of the list that answers the newest target"
    )
    prompt = where.add_mutually_exclusive_group()
    prompt.add_argument("--prompt_idx", type=at_least(0), metavar="N", help="index of the prompt, from 0")
    prompt.add_argument("--prompt_id", metavar="ID", help="prompt by id")
    where.add_argument("--layer", type=at_least(0), metavar="N", help="default: the first stored layer")
    where.add_argument("--neuron", type=at_least(0), metavar="N", help="default: 0")
    where.add_argument("--ctx_idx", type=int, metavar="POS", help="token; negative counts from the end; default -1")
    what = parser.add_argument_group("display")
    tokens = what.add_mutually_exclusive_group()
    tokens.add_argument(
        "--window", type=at_least(1), default=15, metavar="N", help="number of tokens around the cursor; default 15"
    )
    tokens.add_argument("--all_tokens", action="store_true", help="show all tokens of the prompt")
    what.add_argument(
        "--include_bos", action="store_true", help="include the first position, BOS or not, in scales and statistics"
    )
    what.add_argument("--screen", choices=SCREENS, metavar="NAME", help=f"open or print: {', '.join(SCREENS)}")
    what.add_argument(
        "--list",
        metavar="NAME",
        help=f"a list that --screen lists shows, an intervention or a circuit; for --screen {', '.join(NAMED_SCREENS)}",
    )
    what.add_argument("--query", metavar="TEXT", help="text for --screen search, or the filter of a list")
    what.add_argument(
        "--by", choices=SEARCH_WAYS, metavar="WAY", help=f"what --screen search looks in: {', '.join(SEARCH_WAYS)}"
    )
    out = parser.add_argument_group("without a terminal")
    out.add_argument("--print", choices=("text", "json"), nargs="?", const="text", help="write the screen to stdout")
    out.add_argument(
        "--limit", type=at_least(0), metavar="N", help="maximum number of rows; 0: all; default: 50 for lists"
    )
    return parser


def _options(args: Namespace) -> Options:
    if args.run_dir is None:
        given = [f"--{name}" for name in _OF_ONE_RUN if getattr(args, name) is not None]
        if args.screen not in (None, "runs"):
            given.append(f"--screen {args.screen}")
        if given:
            raise UsageError(f"{given[0]} needs --run_dir")
        if not args.runs_root.is_dir():
            is_file = args.runs_root.exists()
            what = "this is a file, not a folder of runs" if is_file else "there is no such folder of runs"
            raise UsageError(what, where=str(args.runs_root), next_step="Give --run_dir")
    elif args.screen == "runs":
        raise UsageError("--screen runs lists a folder of runs: give --runs_root instead of --run_dir")
    elif not args.run_dir.is_dir():
        what = "this is a file, not a run folder" if args.run_dir.exists() else "there is no such run folder"
        raise BadRunError(what, where=str(args.run_dir))
    if args.list is not None and args.screen not in NAMED_SCREENS:
        raise UsageError(f"--list needs --screen {' or '.join(NAMED_SCREENS)}")
    if args.query is not None and args.screen not in (*LIST_SCREENS, "search", "neurons", "explanations", "circuit"):
        raise UsageError(
            f"--query needs --screen search, neurons, explanations, circuit or {' or '.join(LIST_SCREENS)}"
        )
    if args.by is not None and args.screen != "search":
        raise UsageError("--by needs --screen search")
    if args.limit is not None and not args.print:
        raise UsageError("--limit needs --print")
    return Options(
        run_dir=args.run_dir, runs_root=args.runs_root, prompt_idx=args.prompt_idx, prompt_id=args.prompt_id,
        layer=args.layer, neuron=args.neuron, ctx_idx=args.ctx_idx, window=args.window, all_tokens=args.all_tokens,
        include_bos=args.include_bos, screen=args.screen, list_name=args.list, query=args.query, limit=args.limit,
        by=args.by,
    )  # fmt: skip


def _require_terminal() -> None:
    """Raise an error if a full-screen program cannot run. Except on Windows, Textual writes to stderr."""
    from neuron_signatures.tui.layout.text import encodes

    instead = "Use --print text or --print json"
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise UsageError("stdin, stdout or stderr is not a terminal", next_step=instead)
    if os.environ.get("TERM", "") in ("dumb", "unknown"):
        raise EnvironmentProblem(f"TERM={os.environ['TERM']} does not support full-screen programs", next_step=instead)
    encoding = (sys.__stderr__.encoding if sys.__stderr__ else None) or "ascii"
    if not encodes("█▌│·⏎", encoding):
        raise EnvironmentProblem(
            f"the terminal encoding {encoding} has no characters for bars", next_step=f"Set PYTHONUTF8=1, or: {instead}"
        )


if __name__ == "__main__":
    sys.exit(main())
