"""The flags of `poc7_compare_skills --mode explain`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.skills.shared import CHOICE, end, require_run, tell
from neuron_signatures.runs.errors import UsageError

if TYPE_CHECKING:
    from neuron_signatures.skills.explain.from_neuronpedia import NeuronpediaRequest
    from neuron_signatures.skills.explain.stage import ExplainUnits

_NETWORK = frozenset({"neuronpedia_url", "neuronpedia_per_minute", "timeout", "no_cache"})
FLAGS = (CHOICE - {"seed"}) | _NETWORK | {
    "dry_run", "top", "units", "all_units", "explanations", "source_pattern", "neuronpedia", "sets", "score",
}  # fmt: skip


def add_flags(parser: Parser) -> None:
    """What only this mode has."""
    group = parser.add_argument_group("explain: which units, and where their explanations are from")
    group.add_argument("--units", metavar="LIST",
                       help="units by name, such as L3N508+,res L3F12, or a file with one per line; "
                            "default: the most specific ones (--top)")  # fmt: skip
    group.add_argument("--all_units", action="store_true", help="all units of the table features")
    group.add_argument("--explanations", type=folder, nargs="+", default=[], metavar="FILE",
                       help="Neuronpedia's JSONL, .gz or not, or CSV; folders of such files")  # fmt: skip
    group.add_argument("--source_pattern", metavar="PATTERN",
                       help="the sources in --explanations that are the run's autoencoders, "
                            "such as {layer}-gemmascope-{site}-16k")  # fmt: skip
    group.add_argument("--sets", metavar="LIST", help="the run's own sets of explanations (stage 5); default: all")
    group.add_argument("--score", default="correlation/uniform", metavar="NAME",
                       help="the score of stage 6 beside them; default correlation/uniform")  # fmt: skip
    group.add_argument("--neuronpedia", metavar="MODEL/PATTERN",
                       help="ask Neuronpedia's API for features that nothing else explains, "
                            "such as gemma-2-2b/{layer}-gemmascope-{site}-16k; without it nothing is sent")  # fmt: skip
    group.add_argument("--neuronpedia_url", metavar="URL", help="of the API; default https://www.neuronpedia.org")
    group.add_argument("--neuronpedia_per_minute", type=at_least(1), default=60, metavar="N",
                       help="requests per minute; default 60")  # fmt: skip


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    request = _request(args, argv)
    from neuron_signatures.skills.explain.stage import explain_units, forecast

    if args.dry_run:
        return tell(args, forecast(request))
    return end(args, explain_units(request, progress_of(quiet=args.quiet)))


def _request(args: Namespace, argv: Sequence[str]) -> ExplainUnits:
    from neuron_signatures.skills.explain.choice import UnitChoice
    from neuron_signatures.skills.explain.places import check_pattern
    from neuron_signatures.skills.explain.stage import ExplainUnits

    if args.units is not None and args.all_units:
        raise UsageError("contradicts --all_units", where="--units")
    if args.classes is not None and (args.units is not None or args.all_units):
        raise UsageError("is for the most specific units", where="--classes", next_step="Leave it away")
    if args.source_pattern is not None and not args.explanations:
        raise UsageError("is for --explanations", where="--source_pattern")
    choice = UnitChoice(
        args.top, units=args.units, all_units=args.all_units, sources=args.sources, sites=args.sites,
        layers=args.layers, classes=args.classes,
    )  # fmt: skip
    sets = None if args.sets is None else tuple(name.strip() for name in args.sets.split(",") if name.strip())
    pattern = None if args.source_pattern is None else check_pattern(args.source_pattern, "--source_pattern")
    return ExplainUnits(
        require_run(args), choice, files=tuple(args.explanations), pattern=pattern, neuronpedia=_neuronpedia(args),
        sets=sets, score=args.score, flags_given=tuple(argv),
    )  # fmt: skip


def _neuronpedia(args: Namespace) -> NeuronpediaRequest | None:
    if args.neuronpedia is None:
        if args.neuronpedia_url is not None:
            raise UsageError("has no effect without --neuronpedia", where="--neuronpedia_url")
        return None
    from neuron_signatures.skills.explain.from_neuronpedia import NeuronpediaRequest
    from neuron_signatures.skills.explain.neuronpedia_client import URL, open_neuronpedia
    from neuron_signatures.skills.explain.places import parse_neuronpedia

    model, pattern = parse_neuronpedia(args.neuronpedia)
    base_url = args.neuronpedia_url or URL
    open_neuronpedia(base_url)  # an address or key that is not allowed is told before anything is read
    return NeuronpediaRequest(
        model, pattern, base_url, per_minute=args.neuronpedia_per_minute, timeout=float(args.timeout),
        use_cache=not args.no_cache,
    )  # fmt: skip
