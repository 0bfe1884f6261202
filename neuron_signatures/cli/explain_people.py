"""What people add to explanations from the command line: `edit`, `vote`, `lock`, `unlock` and `note`; and `list`."""

from __future__ import annotations

import argparse
import getpass
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode, UsageError, shorten
from neuron_signatures.runs.llm.status import STATUSES
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.tokens import escape, fit

if TYPE_CHECKING:
    from neuron_signatures.runs.explanations.entry import Entry
    from neuron_signatures.runs.explanations.shown import Row

_PROG = "python -m neuron_signatures.poc5_explain_neurons"
_SET_WIDTH = 28
_NEURON = re.compile(r"L(\d{1,6})N(\d{1,9})([+-])", re.ASCII)
_SUMMARIES = {
    "edit": "Replace an explanation, or write the first one of a neuron. The earlier text stays in the log.",
    "vote": "Vote for or against an explanation. The newest vote of each author counts.",
    "lock": "Keep an explanation as the one that is shown for its pole, until you unlock it.",
    "unlock": "End your lock of an explanation.",
    "note": "Add a note to an explanation.",
    "list": "List the explanations of a run.",
}
PEOPLE_COMMANDS = tuple(_SUMMARIES)


def people_main(command: str, argv: Sequence[str]) -> int:
    """Run one of `PEOPLE_COMMANDS`."""
    args = people_parser(command).parse_args(argv)
    setup_logging(quiet=False)
    if command == "list":
        return _list(args)
    entry = _append(command, args)
    emit_json(entry.model_dump()) if args.json else emit(_said(command, entry))
    return ExitCode.OK


def people_parser(command: str) -> Parser:
    """The flags of one of `PEOPLE_COMMANDS`."""
    parser = Parser(prog=f"{_PROG} {command}", description=_SUMMARIES[command])
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run")
    if command == "list":
        return _add_list_flags(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="ID", help="of the explanation, as `list` prints it")
    which.add_argument("--neuron", type=_neuron_pole, metavar="NAME",
                       help="such as L3N508+: the current explanation of this pole, if there is only one")  # fmt: skip
    parser.add_argument("--set", metavar="NAME", help="the set of --neuron, if several sets explain it")
    if command in ("edit", "note"):
        parser.add_argument("--text", required=True, help=f"the {'explanation' if command == 'edit' else 'note'}")
    if command == "vote":
        value = parser.add_mutually_exclusive_group(required=True)
        for name, number, text in (("up", 1, "for it"), ("down", -1, "against it"), ("withdraw", 0, "no vote")):
            value.add_argument(f"--{name}", dest="value", action="store_const", const=number, help=text)
    parser.add_argument("--author", metavar="NAME",
                        help="who says so; default: your user name on this system. Names are not verified")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the line that was appended, as JSON on stdout")
    return parser


def _add_list_flags(parser: Parser) -> Parser:
    parser.add_argument("--search", default="", metavar="WORDS",
                        help="explanations with all these words; L3, L3N508 or L3N508+ selects neurons")  # fmt: skip
    parser.add_argument("--status", choices=STATUSES, help="requests that ended so; with --all implied")
    parser.add_argument("--explainer", metavar="NAME", help="made by this explainer, or human")
    parser.add_argument("--set", metavar="NAME", help="of one set")
    parser.add_argument("--all", action="store_true",
                        help="also failed requests, samples that were not chosen, texts that were edited")  # fmt: skip
    parser.add_argument("--limit", type=at_least(1), default=100, metavar="N", help="lines; default 100")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, one line per explanation")
    return parser


def _append(command: str, args: Namespace) -> Entry:
    from neuron_signatures.runs.explanations import people

    at = args.run_dir, args.neuron if args.id is None else args.id
    author = _user_name() if args.author is None else args.author
    if command == "edit":
        return people.edit(*at, args.text, author, set_name=args.set)
    if command == "note":
        return people.note(*at, args.text, author, set_name=args.set)
    if command == "vote":
        return people.vote(*at, args.value, author, set_name=args.set)
    if command == "lock":
        return people.lock(*at, author, set_name=args.set)
    return people.unlock(*at, author, set_name=args.set)


def _said(command: str, entry: Entry) -> str:
    """What was appended, in one line."""
    of = f"{entry.about or entry.id} of {entry.neuron_name} in set {entry.set}"
    who = escape(entry.author_name or "")
    if command == "edit":
        instead = f", in place of {entry.parent}" if entry.parent else ""
        return f"{of}, by {who}{instead}: {escape(shorten(entry.text, 200))}"
    done = {"vote": {1: "voted for", -1: "voted against", 0: "withdrew the vote about"}[entry.value or 0],
            "lock": "locked", "unlock": "unlocked", "note": "added a note to"}[command]  # fmt: skip
    return f"{who} {done} {of}"


def _list(args: Namespace) -> int:
    from neuron_signatures.runs.explanations.reader import Explanations

    explanations = Explanations.open(args.run_dir, sets=None if args.set is None else [args.set])
    current = None if args.all or args.status not in (None, "ok") else True
    rows = explanations.search(args.search, status=args.status, explainer=args.explainer, current=current)
    listed = rows[: args.limit]
    set_width = min(max((len(row.set) for row in listed), default=0), _SET_WIDTH)
    for row in listed:
        line = "" if args.json else _line(row, set_width, mark_current=args.all)
        emit_json({**row._asdict(), "at": row.at.label}) if args.json else emit(line)
    if args.json:
        return ExitCode.OK
    if not rows:
        emit("no explanations" if not explanations.sets else "no explanation fits")
    elif len(rows) > args.limit:
        emit(f"and {len(rows) - args.limit} more (--limit)")
    return ExitCode.OK


def _line(row: Row, set_width: int, *, mark_current: bool) -> str:
    """A row in one line of the terminal; into a file or a pipe, with the whole text."""
    marks = [
        *(["current"] if mark_current and row.current else []),
        *([] if row.mode is None else [f"mode {row.mode}"]),
        *([f"revision {row.revision}"] if row.revision else []),
        *([] if row.status == "ok" else [row.status]),
        *([f"by {row.author_name}"] if row.author == "human" else []),
        *(["locked"] if row.locked else []),
        *([f"+{row.up} -{row.down}"] if row.up or row.down else []),
    ]
    front = f"{row.at.label:12} {row.id} {fit(row.set, set_width)} "
    end = f"  [{escape(', '.join(marks))}]" if marks else ""
    text = escape(row.text)
    if sys.stdout.isatty():
        text = shorten(text, max(shutil.get_terminal_size().columns - len(front) - len(end), 20))
    return f"{front}{text}{end}".rstrip()


def _neuron_pole(text: str) -> NeuronPole:
    """An argparse type."""
    found = _NEURON.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no pole of a neuron, such as L3N508+ or L3N508-")
    return NeuronPole(int(found[1]), int(found[2]), "+" if found[3] == "+" else "-")


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as e:  # Python 3.11 and 3.12 raise KeyError, 3.13 OSError
        raise UsageError("your user name on this system is not known", next_step="Give --author NAME") from e
