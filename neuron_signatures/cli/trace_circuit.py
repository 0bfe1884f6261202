"""The flags of `poc10_trace_circuit`, and the request that they make."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from neuron_signatures.cli.arguments import at_least, folder, parse_bytes, share
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.circuits.folder import STAGE
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import safe_id

if TYPE_CHECKING:
    from neuron_signatures.circuits.request import TraceRequest

MODULE: Final = f"neuron_signatures.{STAGE}"
CANDIDATES_PER_NODE: Final = 8
"""Candidates for each neuron that can become a node, by default: docs/poc10.md."""
_OF_CHECKS: Final = frozenset({"n_random", "n_swaps", "seed"})
_OF_ONE_CASE: Final = frozenset(
    {"prompt_id", "target_mode", "target_token", "target_token_id", "foil_token", "foil_token_id"}
)
_OF_IMPORT: Final = frozenset({"run_dir", "import_file", "name", "overwrite", "export", "quiet", "json"})


def make_parser(description: str | None) -> Parser:
    parser = Parser(prog=f"python -m {MODULE}", description=description)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="run folder")
    _add_target_flags(parser)
    _add_graph_flags(parser)
    _add_check_flags(parser)
    add_rerun_flags(parser, dtype_help="default: fp32")
    output = parser.add_argument_group("output")
    output.add_argument("--name", metavar="NAME",
                        help="of the folder in circuits/; default: from prompt, target and foil, of --cases the file's "
                             "name for what they have in common")  # fmt: skip
    output.add_argument("--export", type=folder, metavar="FOLDER",
                        help="also write a graph file and feature files for public viewers")  # fmt: skip
    output.add_argument("--import", dest="import_file", type=folder, metavar="FILE",
                        help="make a circuit of a graph file instead; needs no model")  # fmt: skip
    output.add_argument("--max_memory", type=parse_bytes, metavar="SIZE",
                        help="of a batch of backward passes, and of the edges between candidates, such as 1GB; "
                             "default 256MiB")  # fmt: skip
    output.add_argument("--overwrite", action="store_true", help="trace again what is finished")
    output.add_argument("--dry_run", action="store_true", help="print the forecast; then stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_target_flags(parser: Parser) -> None:
    group = parser.add_argument_group("the prediction")
    group.add_argument("--prompt_id", default="0", metavar="ID", help="id or index in the run; default the first")
    modes = ("top1_logit", "last_token", "next_token")
    group.add_argument("--target_mode", choices=modes, help="default: top1_logit, with a target next_token")
    group.add_argument("--target_token", metavar="TOKEN", help='exactly one token, such as " Austin"')
    group.add_argument("--target_token_id", type=int, metavar="N")
    group.add_argument("--foil_token", metavar="TOKEN", help="explain the difference from this token")
    group.add_argument("--foil_token_id", type=int, metavar="N")
    group.add_argument("--target_pos", type=int, default=-1, metavar="POS", help="default -1, the last position")
    group.add_argument("--cases", type=folder, metavar="FILE",
                       help='several predictions: a JSON list of {"prompt_id", "target_token", "foil_token", "entity", '
                            '"held_out"}')  # fmt: skip


def _add_graph_flags(parser: Parser) -> None:
    group = parser.add_argument_group("the graph")
    group.add_argument("--max_nodes", type=at_least(1), default=50, metavar="N", help="most neurons; default 50")
    group.add_argument("--candidates", type=at_least(1), metavar="N",
                       help="neurons between which edges are computed, the most relevant; default "
                            f"{CANDIDATES_PER_NODE} times --max_nodes")  # fmt: skip
    group.add_argument("--node_share", type=share, default=0.8, metavar="SHARE",
                       help="share of the influence that the kept nodes have; default 0.8")  # fmt: skip
    group.add_argument("--edge_share", type=share, default=0.98, metavar="SHARE",
                       help="share of the influence that the kept edges have; default 0.98")  # fmt: skip
    group.add_argument("--reference", metavar="REF",
                       help="what activations are compared with: mean, zero, prompt:ID, run:DIR, records (the corpus "
                            "of stage 4) or template (of --cases: the mean over the other prompts); default mean, "
                            "zero in a run of few tokens")  # fmt: skip
    group.add_argument("--min_mean_tokens", type=at_least(1), default=64, metavar="N",
                       help="fewest tokens of a mean; default 64")  # fmt: skip
    group.add_argument(
        "--heads", action="store_true", help="shares of attention heads in every edge, those of at least 1 %% of it"
    )
    group.add_argument("--measure", type=at_least(0), default=0, metavar="N",
                       help="ablate the sources of the N strongest edges, and the N strongest neurons; "
                            "default 0")  # fmt: skip


def _add_check_flags(parser: Parser) -> None:
    group = parser.add_argument_group("tests by intervention, after the trace")
    group.add_argument("--checks", action="store_true",
                       help="keep or ablate the strongest neurons, beside random sets; with --cases swap groups "
                            "between prompts")  # fmt: skip
    group.add_argument("--n_random", type=at_least(100), default=1000, metavar="N",
                       help="random sets of a comparison, at least 100; default 1000")  # fmt: skip
    group.add_argument("--n_swaps", type=at_least(0), default=10, metavar="N",
                       help="other prompts of --cases that each group is swapped from; default 10")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of random sets and groups; default 0")


def check_flags(args: Namespace, given: Collection[str]) -> None:
    """Raise `UsageError` for flags that have no effect together."""
    if args.cases is not None and (clashing := sorted(_OF_ONE_CASE & set(given))):
        raise UsageError("is given for each case in the file", where=f"--{clashing[0]}", next_step="Leave it away")
    if args.import_file is not None and (clashing := sorted(set(given) - _OF_IMPORT)):
        raise UsageError("has no effect with --import", where=f"--{clashing[0]}", next_step="Leave it away")
    if not args.checks and (idle := sorted(_OF_CHECKS & set(given))):
        raise UsageError("has an effect with --checks alone", where=f"--{idle[0]}", next_step="Add --checks")
    if args.candidates is not None and args.candidates < args.max_nodes:
        what = f"{args.candidates} candidates are fewer than --max_nodes {args.max_nodes}"
        raise UsageError(what, where="--candidates")


def trace_request(args: Namespace) -> TraceRequest:
    """Reads the file of cases."""
    from neuron_signatures.circuits.checks.settings import check_settings
    from neuron_signatures.circuits.graph.prune import PruneRules
    from neuron_signatures.circuits.request import Case, TraceRequest, TraceSettings, read_cases, target_request
    from neuron_signatures.circuits.tracing.batches import DEFAULT_MEMORY

    if args.cases is not None:
        cases = read_cases(args.cases, target_pos=args.target_pos)
    else:
        target = target_request(
            args.target_pos, args.target_token, args.target_token_id, args.foil_token, args.foil_token_id,
            args.target_mode,
        )  # fmt: skip
        cases = (Case(args.prompt_id, target),)
    settings = TraceSettings(
        rules=PruneRules(args.max_nodes, args.node_share, args.edge_share),
        n_candidates=args.candidates or CANDIDATES_PER_NODE * args.max_nodes, reference=args.reference,
        min_mean_tokens=args.min_mean_tokens, heads=args.heads, measure=args.measure,
        max_memory=args.max_memory or DEFAULT_MEMORY,
    )  # fmt: skip
    common = safe_id(args.cases.stem) if args.cases is not None and len(cases) > 1 else None
    checks = check_settings(args.n_random, args.n_swaps, args.seed) if args.checks else None
    return TraceRequest(
        cases, args.name or common, settings, model_overrides(args), args.overwrite, checks, args.export
    )
