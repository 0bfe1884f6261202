"""The flags of `poc7_compare_skills --mode steer`."""

from __future__ import annotations

import argparse
import logging
import math
from argparse import Namespace
from collections.abc import Sequence

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.skills.shared import CHOICE
from neuron_signatures.runs.errors import ExitCode, UsageError

log = logging.getLogger(__name__)

FLAGS = CHOICE | {
    "top", "edit", "alpha", "neuron_alpha", "peaks", "dose", "n_random", "texts_per_class", "n_neutral", "text_tokens",
    "neutral_json", "rows", "figures", "generate", "new_tokens", "dry_run", "saes", "directions", "model_name",
    "device", "device_map", "trust_remote_code", "deterministic",
}  # fmt: skip


def add_flags(parser: Parser) -> None:
    """What only this mode has."""
    group = parser.add_argument_group("steer")
    group.add_argument("--edit", type=_edits, default=("add",), metavar="LIST",
                       help="add: to a direction or activation; clamp: to a share of its peak")  # fmt: skip
    group.add_argument("--alpha", type=_doses, metavar="LIST",
                       help="doses of features and directions that are added, in mean norms of their site; default "
                            "0.05,0.1,0.2,0.4")  # fmt: skip
    group.add_argument("--neuron_alpha", type=_doses, metavar="LIST",
                       help="doses of added neurons, in their own standard deviations; default 1,2,4,8")  # fmt: skip
    group.add_argument("--peaks", type=_doses, metavar="LIST",
                       help="doses of clamping, in shares of the unit's own peak; default 0.5,1,2,4")  # fmt: skip
    group.add_argument("--dose", type=_dose, default=None, metavar="X|find",
                       help="the dose of the claim: one of the doses, or find (default), the one that raises "
                            "the class most on texts of half find")  # fmt: skip
    group.add_argument("--n_random", type=at_least(100), default=100, metavar="N",
                       help="random and frequency-matched control units of each unit; default 100")  # fmt: skip
    group.add_argument("--texts_per_class", type=at_least(2), default=16, metavar="N",
                       help="texts of each class and half; default 16")  # fmt: skip
    group.add_argument("--text_tokens", type=at_least(3), default=128, metavar="N",
                       help="longer texts are cut; default 128, BOS included")  # fmt: skip
    group.add_argument("--neutral_json", type=folder, metavar="FILE", help="neutral prompts and prose instead of ours")
    group.add_argument("--n_neutral", type=at_least(1), default=16, metavar="N",
                       help="neutral prompts for KL, besides the prose; default 16")  # fmt: skip
    group.add_argument("--rows", type=at_least(1), default=32, metavar="N",
                       help="texts with a change per forward pass; default 32")  # fmt: skip
    group.add_argument("--generate", type=at_least(0), default=0, metavar="N",
                       help="continue N neutral prompts with the first unit of each class; default 0")  # fmt: skip
    group.add_argument("--new_tokens", type=at_least(1), default=30, metavar="N", help="of a continuation; default 30")


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    from neuron_signatures.interventions.side_effects.neutral import load_neutral
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.skills.reader import Skills
    from neuron_signatures.skills.specific import SpecificChoice
    from neuron_signatures.skills.steer.chosen import specific_units
    from neuron_signatures.skills.steer.doses import Doses
    from neuron_signatures.skills.steer.forecast import forecast
    from neuron_signatures.skills.steer.report import steer_lines
    from neuron_signatures.skills.steer.request import DEFAULT_DOSES, Generate, SteerRequest
    from neuron_signatures.skills.steer.run import prepare, run_steer_skills

    if args.run_dir is None:
        raise UsageError("this mode needs a run folder", where="--run_dir", next_step="Give --run_dir DIR")
    default = DEFAULT_DOSES
    doses = Doses(args.alpha or default.vectors, args.neuron_alpha or default.neurons, args.peaks or default.peaks)
    overrides = ModelOverrides(
        args.model_name, "fp32", args.device, args.device_map, args.trust_remote_code, args.deterministic
    )
    request = SteerRequest(
        choice=SpecificChoice(args.top, args.sources, args.sites, args.layers, args.classes), edits=args.edit,
        doses=doses, dose=args.dose, n_random=args.n_random, n_texts=args.texts_per_class, n_neutral=args.n_neutral,
        max_tokens=args.text_tokens, rows=args.rows, seed=args.seed, neutral=load_neutral(args.neutral_json),
        overrides=overrides, saes=args.saes, directions=args.directions,
        generate=Generate(args.generate, args.new_tokens), figures=args.figures,
    )  # fmt: skip
    with Run.open(args.run_dir) as opened, Skills.open(args.run_dir) as skills:
        specific_units(skills, request.choice)  # a missing table is found before the model is loaded
        prepared = prepare(opened, skills, request)
        if args.dry_run:
            emit(forecast(prepared).line())
            return ExitCode.OK
        done = run_steer_skills(prepared, progress=progress_of(quiet=args.quiet))
        if args.json:
            emit_json(done.facts)
        else:
            emit("\n".join(steer_lines(args.run_dir, done)))
    return ExitCode.OK


def _edits(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names or not set(names) <= {"add", "clamp"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of add, clamp")
    return names


def _doses(text: str) -> tuple[float, ...]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.1,0.2") from e
    if not all(0 < dose < 1e9 for dose in found):
        raise argparse.ArgumentTypeError(f"{text!r} has a dose that is not above 0")
    return tuple(found)


def _dose(text: str) -> float | None:
    if text == "find":
        return None
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor find") from e
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value
