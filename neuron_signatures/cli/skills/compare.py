"""The flags of `poc7_compare_skills --mode compare`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from neuron_signatures.cli.arguments import at_least, figure_formats, share
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.skills.shared import CHOICE
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.skills.names import Fires

if TYPE_CHECKING:
    from neuron_signatures.skills.compare.request import CompareRequest

_OWN = frozenset({
    "fires", "normalised_share", "min_share", "background_share", "n_draws", "n_permutations", "n_halves", "no_probes",
    "max_probe_units", "n_controls", "figures",
})  # fmt: skip
FLAGS = CHOICE | _OWN | {"dry_run"}


def add_flags(parser: Parser) -> None:
    """What only this mode has."""
    group = parser.add_argument_group("compare")
    group.add_argument("--fires", choices=get_args(Fires), default="threshold",
                       help="when a unit fires in a text: above its threshold at a token (the default), among the "
                            "strongest of its bank at a token, or above a share of its largest activation")  # fmt: skip
    group.add_argument("--normalised_share", type=share, default=0.5, metavar="SHARE",
                       help="of the largest activation, for --fires normalised; default 0.5")  # fmt: skip
    group.add_argument("--min_share", type=share, default=0.1, metavar="SHARE",
                       help="of a group's texts in which a unit of its set fires; default 0.1")  # fmt: skip
    group.add_argument("--background_share", type=share, default=0.5, metavar="SHARE",
                       help="units that fire in more of all texts are background; default 0.5")  # fmt: skip
    group.add_argument("--n_draws", type=at_least(100), default=1000, metavar="N",
                       help="bootstrap draws of texts for an interval; default 1000")  # fmt: skip
    group.add_argument("--n_permutations", type=at_least(100), default=1000, metavar="N",
                       help="permutations of labels for a p-value; default 1000")  # fmt: skip
    group.add_argument("--n_halves", type=at_least(2), default=100, metavar="N",
                       help="random halves of each group; default 100")  # fmt: skip
    group.add_argument("--no_probes", action="store_true", help="leave out the sparse probes")
    group.add_argument("--max_probe_units", type=at_least(1), default=256, metavar="N",
                       help="units that enter a probe, screened on the half find; default 256")  # fmt: skip
    group.add_argument("--n_controls", type=at_least(2), default=5, metavar="N",
                       help="random labellings of the probes' control task; default 5")  # fmt: skip
    group.add_argument("--figures", type=figure_formats, default=(), metavar="FORMATS",
                       help="draw pictures into skills/figures/: png, svg or png,svg")  # fmt: skip


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    if args.run_dir is None:
        raise UsageError("is needed", where="--run_dir", next_step="Give the run folder with the collected texts")
    from neuron_signatures.runs.skills.reader import Skills
    from neuron_signatures.skills.compare.forecast import forecast
    from neuron_signatures.skills.compare.stage import run_compare
    from neuron_signatures.skills.compare.summary import lines, summary
    from neuron_signatures.skills.figures.draw import write_figures

    request = _request(args)
    if args.dry_run:
        with Skills.open(request.run_dir) as skills:
            planned = forecast(skills, request)
        if args.json:
            emit_json(vars(planned))
        else:
            emit(planned.line())
        return ExitCode.OK
    found = run_compare(request, progress=progress_of(quiet=args.quiet), draw=write_figures)
    if args.json:
        emit_json(summary(found))
    else:
        emit("\n".join(lines(found)))
    return ExitCode.OK


def _request(args: Namespace) -> CompareRequest:
    from neuron_signatures.skills.compare.request import CompareRequest, Firing, ProbeSettings, Resampling

    return CompareRequest(
        run_dir=args.run_dir, sources=args.sources, sites=args.sites, layers=args.layers, classes=args.classes,
        firing=Firing(args.fires, args.normalised_share, args.min_share, args.background_share),
        resampling=Resampling(args.n_draws, args.n_permutations, args.n_halves, args.seed),
        probes=ProbeSettings(
            enabled=not args.no_probes, max_units=args.max_probe_units, n_controls=args.n_controls
        ),
        figures=args.figures,
    )  # fmt: skip
