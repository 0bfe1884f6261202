"""Stage 7: which units belong to a skill, and do they carry it? Autoencoder features, neurons and directions.

Reads:  labelled texts, a model (that of the run, or --model_name for a new one), sparse autoencoders, directions.
Writes: RUN/skills/ (docs/poc7.md), each mode its tables and then its record
  collect   what every unit does in every text, and how good each autoencoder is on these tokens
  compare   similarity of skills and classes with nulls, units specific for a class, probes
  explain   explanations of those units: Neuronpedia, files, or the run's own
  classify  does an explanation belong to a class: a language model, baselines, agreement
  steer     what the units of a class do to its texts when they are raised, beside controls

    python -m neuron_signatures.poc7_compare_skills --run_dir runs/demo --mode collect --texts demo --saes demo
    python -m neuron_signatures.poc7_compare_skills --run_dir runs/demo --mode compare
    python -m neuron_signatures.poc7_compare_skills --run_dir runs/demo --mode steer --top 3
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Final

from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.cli.skills import classify, collect, compare, explain, steer
from neuron_signatures.cli.skills.shared import add_output_flags, add_running_flags, add_shared_flags, refuse_idle_flags
from neuron_signatures.runs.skills.names import MODES

_MODES: Final = {"collect": collect, "compare": compare, "explain": explain, "classify": classify, "steer": steer}
FLAGS: Final = {mode: module.FLAGS for mode, module in _MODES.items()}
"""The flags that each mode accepts; a flag without effect is an error."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args.mode, parser.given(argv))
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="run the same command again"):
        code: int = _MODES[args.mode].run(args, argv)
    return code


def check_flags(mode: str, given: Collection[str]) -> None:
    """Raise `UsageError` for the first flag (without its dashes) that has no effect in this mode."""
    refuse_idle_flags(mode, given, FLAGS)


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m neuron_signatures.poc7_compare_skills", description=__doc__, conflict_handler="resolve"
    )
    parser.add_argument("--mode", choices=MODES, default="compare", help="default: compare")
    add_shared_flags(parser)
    for module in _MODES.values():
        module.add_flags(parser)
    add_running_flags(parser)
    add_output_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
