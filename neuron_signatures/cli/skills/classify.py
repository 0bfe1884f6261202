"""The flags of `poc7_compare_skills --mode classify`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.llm_flags import MODEL_FLAGS, add_budget_flags, add_llm_flags, llm_specs
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.skills.shared import CHOICE, end, require_run, tell
from neuron_signatures.runs.errors import UsageError

if TYPE_CHECKING:
    from neuron_signatures.skills.classify.request import ClassifyRequest

_LLM = MODEL_FLAGS | {"llm", "concurrency", "batch_size", "device", "model_dtype"}
FLAGS = CHOICE | _LLM | {
    "dry_run", "samples", "pairs", "controls", "class_descriptions", "hand_labels", "max_tokens", "retry_failed",
}  # fmt: skip
_OF_MODELS = ("base_url", "max_cost", "max_requests", "price_file", "requests_per_minute", "tokens_per_minute")
_MAX_DESCRIPTION = 1000


def add_flags(parser: Parser) -> None:
    """What only this mode has."""
    group = parser.add_argument_group("classify: does an explanation belong to a class?")
    group.add_argument("--samples", type=at_least(1), default=2, metavar="K",
                       help="answers of each model to each question, which differ in the order of classes and "
                            "options; default 2")  # fmt: skip
    group.add_argument("--pairs", choices=("all", "own"), default="all",
                       help="every explanation with every class (the default), or with the unit's own one")  # fmt: skip
    group.add_argument("--controls", action="store_true",
                       help="--pairs own: also ask about one explanation of another unit for each; with --pairs all "
                            "the null needs no requests")  # fmt: skip
    group.add_argument("--class_descriptions", type=folder, metavar="FILE",
                       help="JSON, {class: description}; default: the names of the skills of each class")  # fmt: skip
    group.add_argument("--hand_labels", type=folder, metavar="FILE",
                       help="CSV or JSONL: source, site, layer, unit (or label), class, answer")  # fmt: skip
    group.add_argument("--max_tokens", type=at_least(1), default=100, metavar="N", help="of an answer; default 100")
    group.add_argument("--retry_failed", action="store_true", help="ask again where a stored answer was not valid")
    add_llm_flags(parser, without="only the baselines", several=True)
    add_budget_flags(parser)


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    request = _request(args, argv)
    from neuron_signatures.skills.classify.stage import classify_units, forecast

    if args.dry_run:
        return tell(args, forecast(request))
    return end(args, classify_units(request, progress_of(quiet=args.quiet)))


def _request(args: Namespace, argv: Sequence[str]) -> ClassifyRequest:
    from neuron_signatures.llm.budget import Limits
    from neuron_signatures.skills.classify.request import ClassifyRequest
    from neuron_signatures.skills.explain.choice import UnitChoice

    if args.controls and args.pairs != "own":
        what = "has no effect with --pairs all, whose null needs no requests"
        raise UsageError(what, where="--controls", next_step="Leave it away, or give --pairs own")
    llms = llm_specs(args)
    idle = [name for name in _OF_MODELS if getattr(args, name) is not None]
    if idle and not llms:
        raise UsageError("is for a language model", where=f"--{idle[0]}", next_step="Give --llm too")
    choice = UnitChoice(args.top, sources=args.sources, sites=args.sites, layers=args.layers, classes=args.classes)
    return ClassifyRequest(
        require_run(args), choice, llms=llms, samples=args.samples, pairs=args.pairs,
        controls=args.controls, descriptions=_descriptions(args.class_descriptions), hand_labels=args.hand_labels,
        max_tokens=args.max_tokens, seed=args.seed,
        limits=Limits(max_requests=args.max_requests, max_cost=args.max_cost), price_file=args.price_file,
        use_cache=not args.no_cache, retry_failed=args.retry_failed, device=args.device, flags_given=tuple(argv),
    )  # fmt: skip


def _descriptions(path: Path | None) -> Mapping[str, str] | None:
    if path is None:
        return None
    from neuron_signatures.runs.input_files import read_json_input

    found = read_json_input(path)
    is_text = isinstance(found, dict) and all(isinstance(t, str) and 0 < len(t) <= _MAX_DESCRIPTION
                                              for t in found.values())  # fmt: skip
    if not is_text or not found:
        what = f"is no JSON object of classes with descriptions of 1 to {_MAX_DESCRIPTION} characters"
        raise UsageError(what, where=str(path), next_step='Write {"mathematics": "sums, equations and proofs"}')
    return dict(found)
