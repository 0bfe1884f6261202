"""The flags that choose poles of neurons among those of which the records store activations."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError

if TYPE_CHECKING:
    from neuron_signatures.scoring.poles import NeuronRequest


def add_pole_flags(parser: Parser) -> None:
    group = parser.add_argument_group("which neurons (default: all whose activations stage 4 stored)")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--neurons", dest="names", metavar="LIST", help="such as L3N508,L4N178- (a sign is one pole of the neuron)"
    )
    which.add_argument("--from", dest="from_list", metavar="LIST",
                       help="the first --top_k of a list: its file stem, peaks, signatures or group:NAME")  # fmt: skip
    which.add_argument("--neurons_json", type=folder, metavar="FILE", help='JSON list such as ["L3N508", "L4N178-"]')
    which.add_argument("--all", action="store_true", help="every neuron of the recorded layers")
    group.add_argument("--top_k", type=at_least(1), metavar="K", help="of --from; default 100")
    group.add_argument("--poles", choices=("both", "+", "-"), default="both", help="default: both")
    group.add_argument("--limit", type=at_least(1), metavar="N", help="at most N poles that are not done, then stop")


def check_pole_flags(args: Namespace) -> None:
    """Raise `UsageError` for flags that do not go together."""
    if args.top_k is not None and args.from_list is None:
        raise UsageError("--top_k counts the neurons of --from", next_step="--limit is for all")


def neuron_request(args: Namespace) -> NeuronRequest:
    """What the flags of `add_pole_flags` say."""
    from neuron_signatures.interventions.choice.neurons import Request
    from neuron_signatures.scoring.poles import NeuronRequest

    names = (args.names, args.from_list, args.neurons_json, args.all)
    return NeuronRequest(Request(*names, args.top_k or 100) if any(names) else None, args.poles)
