"""Stage 3: change neurons of a run's model, and look at what it then says, beside controls.

Reads:  a run folder and the model that made it.
Writes: RUN/interventions/ (docs/poc3.md): a table, a JSON record and a figure per result, then its ..._meta.json
  effect  effect_<prompt>_<edit>_<target>_<neurons>.*    neurons changed one by one and as one set
  swap    swap_<prompt>_from_<source>_<answers>.*        the fewest neurons that make the model say the source's answer
  steer   steer_<prompt>_<...>.*                         dose-response of neurons or a direction, with generated text

    python -m neuron_signatures.poc3_intervene --run_dir runs/demo --mode effect --neurons L3N508,L4N178
    python -m neuron_signatures.poc3_intervene --run_dir runs/demo --mode swap --prompt_id seed_prompt \\
        --source_text "The capital of the state containing Oakland is"
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder, number
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides, prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.interventions.mode_flags import check_flags
from neuron_signatures.runs.errors import ExitCode

if TYPE_CHECKING:
    from neuron_signatures.analysis.attribution.targets import TargetRequest
    from neuron_signatures.interventions.choice.neurons import Request as NeuronRequest
    from neuron_signatures.runs.run import Run

log = logging.getLogger("neuron_signatures.poc3_intervene")  # also when run as a program


@command
def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args.mode, parser.given(argv))
    setup_logging(quiet=args.quiet)
    if args.deterministic:
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again"):
        from neuron_signatures.runs.run import Run
        from neuron_signatures.runs.units import need_neurons

        with Run.open(args.run_dir, check="sha256") as run:
            need_neurons(run, "stage 3")
            if args.prompt_id is not None:
                run.prompt(args.prompt_id)  # before torch is imported, which takes seconds
            _MODES[args.mode](run, args)
    return ExitCode.OK


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.poc3_intervene", description=__doc__)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="run folder")
    parser.add_argument("--mode", choices=tuple(_MODES), default="effect", help="default: effect")
    parser.add_argument("--prompt_id", metavar="ID", help="id or index in the run; default the first")
    _add_neuron_flags(parser)
    _add_target_flags(parser)
    _add_effect_flags(parser)
    _add_swap_flags(parser)
    _add_steer_flags(parser)
    _add_control_flags(parser)
    add_rerun_flags(parser, dtype_help="default: fp32")
    output = parser.add_argument_group("output")
    output.add_argument("--dry_run", action="store_true", help="print how many forward passes and how long, and stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_neuron_flags(parser: Parser) -> None:
    group = parser.add_argument_group("which neurons (effect, steer)")
    group.add_argument("--neurons", metavar="LIST", help="such as L3N508,L4N178- (a sign is one pole of the neuron)")
    group.add_argument("--from", dest="from_list", metavar="LIST",
                       help="the first --top_k of a list: its file stem, peaks, signatures or group:NAME")  # fmt: skip
    group.add_argument("--top_k", type=at_least(1), default=10, metavar="K", help="of --from; default 10")
    group.add_argument("--neurons_json", type=folder, metavar="FILE", help='JSON list such as ["L3N508", "L4N178-"]')
    group.add_argument("--all", action="store_true", help="every neuron alone (effect): a screening")


def _add_target_flags(parser: Parser) -> None:
    group = parser.add_argument_group("what is looked at (effect, steer)")
    modes = ("top1_logit", "last_token", "next_token")
    group.add_argument("--target_mode", choices=modes, help="default: top1_logit, next_token with --target_token")
    group.add_argument("--target_token", metavar="TOKEN",
                       help='exactly one token, such as " Austin"; of a swap, the source\'s answer')  # fmt: skip
    group.add_argument("--target_token_id", type=int, metavar="N")
    group.add_argument(
        "--foil_token", metavar="TOKEN", help="the other token of a difference; of a swap, the answer now"
    )
    group.add_argument("--foil_token_id", type=int, metavar="N")
    group.add_argument("--target_pos", type=int, default=-1, metavar="POS", help="default -1, the last position")
    functions = ("pre_cap_logit", "logit", "logprob")
    group.add_argument("--function", choices=functions, default="pre_cap_logit", help="default: pre_cap_logit")
    group.add_argument("--positions", metavar="LIST",
                       help="where neurons are changed: numbers, last, all or entity:TEXT; default last, of a swap the "
                            "entity's last token and the last position")  # fmt: skip


def _add_effect_flags(parser: Parser) -> None:
    group = parser.add_argument_group("effect")
    edits = ("ablate", "flip", "set", "scale", "add", "patch")
    group.add_argument("--edit", choices=edits, default="ablate", help="default: ablate")
    group.add_argument("--value", type=number, metavar="X", help="for set, scale and add")
    group.add_argument("--reference", metavar="REF",
                       help="what ablated neurons are set to: mean, zero, resample, prompt:ID, run:DIR, records (the "
                            "corpus of stage 4); default mean, zero in a run of few tokens. steer: records for the "
                            "standard deviations of the corpus")  # fmt: skip
    group.add_argument(
        "--min_mean_tokens", type=at_least(1), default=64, metavar="N", help="fewest tokens of a mean; default 64"
    )
    group.add_argument("--source_prompt", metavar="ID", help="patch and swap: the prompt whose values are set")
    group.add_argument("--source_text", metavar="TEXT", help="the same as a text")


def _add_swap_flags(parser: Parser) -> None:
    group = parser.add_argument_group("swap")
    group.add_argument("--pairs_json", type=folder, metavar="FILE", help="many pairs, or a template and entities")
    group.add_argument("--held_out", type=_held_out, metavar="SHARE|FILE",
                       help="pairs that the choice of neurons does not see: a share of entities, a file")  # fmt: skip
    group.add_argument("--wrong_source", metavar="TEXT", help="another entity's prompt; default one that is found")
    group.add_argument("--max_k", type=at_least(1), default=1000, metavar="K", help="most cells; default 1000")
    group.add_argument("--block", type=at_least(1), metavar="N",
                       help="cells between two computations of gradients; default a fifth of all chosen")  # fmt: skip


def _add_steer_flags(parser: Parser) -> None:
    group = parser.add_argument_group("steer")
    group.add_argument("--alpha", metavar="LIST", help="amounts; default -8 to 8, of a direction -1 to 1")
    group.add_argument("--unit", choices=("std", "residual", "1"),
                       help="what alpha 1 is: a neuron's standard deviation over the run, the mean norm of the "
                            "residual stream for a direction (the defaults), or 1")  # fmt: skip
    group.add_argument("--direction", metavar="NEURON", help="the output direction of a neuron, such as L3N508")
    group.add_argument(
        "--direction_file", type=folder, metavar="FILE", help="a vector of d_model, .npy or .safetensors"
    )
    group.add_argument("--layer", type=at_least(0), metavar="N", help="with --direction_file: whose output is steered")
    group.add_argument("--max_new_tokens", type=at_least(0), default=20, metavar="N", help="default 20")
    group.add_argument("--temperature", type=number, default=0.0, metavar="T", help="default 0: the most likely tokens")
    group.add_argument("--edit_generated", choices=("all", "prompt"), default="all",
                       help="steer at every new token too (default), or only at the prompt's positions")  # fmt: skip
    group.add_argument("--break_factor", type=number, default=4.0, metavar="X",
                       help="a text is broken above X times the unsteered text's perplexity; default 4")  # fmt: skip


def _add_control_flags(parser: Parser) -> None:
    group = parser.add_argument_group("controls")
    group.add_argument("--n_random", type=at_least(100), default=1000, metavar="N",
                       help="random sets of a comparison; default 1000")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of random sets and of generation; default 0")
    group.add_argument("--neutral_json", type=folder, metavar="FILE", help="neutral prompts instead of ours")
    group.add_argument("--batch", type=at_least(1), default=64, metavar="N", help="copies per forward pass; default 64")


def _held_out(text: str) -> float | Path:
    """A share of the entities, or a file."""
    try:
        share = float(text)
    except ValueError:
        return folder(text)
    return share if 0 < share < 1 else folder(text)


def _effect(run: Run, args: Namespace) -> None:
    from neuron_signatures.interventions.effect.report import effect_lines
    from neuron_signatures.interventions.effect.request import EffectRequest
    from neuron_signatures.interventions.effect.run import run_effect
    from neuron_signatures.interventions.effect.writing import effect_record
    from neuron_signatures.interventions.forecast import Forecast
    from neuron_signatures.interventions.side_effects.neutral import load_neutral

    request = EffectRequest(
        prompt=args.prompt_id or "0", target=_target(args), neurons=_neurons(args), kind=args.edit, value=args.value,
        positions="last" if args.positions is None else args.positions, source_prompt=args.source_prompt,
        source_text=args.source_text,
        reference=args.reference, min_mean_tokens=args.min_mean_tokens, overrides=model_overrides(args),
        n_random=args.n_random, seed=args.seed, batch=args.batch, neutral=load_neutral(args.neutral_json),
        dry_run=args.dry_run,
    )  # fmt: skip
    found = run_effect(run, request, progress=progress_of(quiet=args.quiet))
    if isinstance(found, Forecast):
        emit(found.line())
    elif args.json:
        emit_json({"result": found.stem, **effect_record(found).model_dump()})
    else:
        emit("\n".join(effect_lines(found)))


def _swap(run: Run, args: Namespace) -> None:
    from neuron_signatures.interventions.forecast import Forecast
    from neuron_signatures.interventions.side_effects.neutral import load_neutral
    from neuron_signatures.interventions.swap.report import swap_lines
    from neuron_signatures.interventions.swap.request import SwapRequest
    from neuron_signatures.interventions.swap.run import run_swap
    from neuron_signatures.interventions.swap.select import Limits

    request = SwapRequest(
        prompt=args.prompt_id, source_prompt=args.source_prompt, source_text=args.source_text,
        pairs_json=args.pairs_json, held_out=args.held_out, wrong_source=args.wrong_source, positions=args.positions,
        answers=(args.foil_token, args.target_token), limits=Limits(args.max_k, args.block, args.batch),
        overrides=model_overrides(args), n_random=args.n_random, seed=args.seed,
        neutral=load_neutral(args.neutral_json), dry_run=args.dry_run,
    )  # fmt: skip
    found = run_swap(run, request, progress=progress_of(quiet=args.quiet))
    if isinstance(found, Forecast):
        emit(found.line())
    elif args.json:
        pairs = [p.model_dump() for p in found.pairs]
        emit_json({"result": found.stem, "verdict": found.verdict, "pairs": pairs})
    else:
        emit("\n".join(swap_lines(found)))


def _steer(run: Run, args: Namespace) -> None:
    from neuron_signatures.interventions.steer.forecast import steer_forecast
    from neuron_signatures.interventions.steer.from_flags import SteerFlags, steer_request
    from neuron_signatures.interventions.steer.report import steer_lines, steer_summary
    from neuron_signatures.interventions.steer.request import Generation
    from neuron_signatures.interventions.steer.run import run_steer

    generation = Generation(args.max_new_tokens, args.temperature, args.seed, args.edit_generated)
    flags = SteerFlags(
        prompt=args.prompt_id or "0", target=_target(args), neurons=_neurons(args), direction=args.direction,
        direction_file=args.direction_file, layer=args.layer, alpha=args.alpha, unit=args.unit,
        reference=args.reference,
        positions="last" if args.positions is None else args.positions, generation=generation,
        n_random=args.n_random, seed=args.seed,
        batch=args.batch, neutral=args.neutral_json, break_factor=args.break_factor, overrides=model_overrides(args),
    )  # fmt: skip
    request = steer_request(run, flags)
    line = steer_forecast(request)
    if args.dry_run:
        emit(line)
        return
    log.info("%s", line)
    done = run_steer(run, request, progress=progress_of(quiet=args.quiet))
    emit_json(steer_summary(run.path, done)) if args.json else emit("\n".join(steer_lines(run.path, done)))


def _target(args: Namespace) -> TargetRequest:
    from neuron_signatures.analysis.attribution.targets import TargetRequest

    given = args.target_token is not None or args.target_token_id is not None
    return TargetRequest(
        args.target_mode or ("next_token" if given else "top1_logit"), args.target_pos, args.target_token,
        args.target_token_id, args.foil_token, args.foil_token_id, args.function,
    )  # fmt: skip


def _neurons(args: Namespace) -> NeuronRequest:
    from neuron_signatures.interventions.choice.neurons import Request

    return Request(args.neurons, args.from_list, args.neurons_json, args.all, args.top_k)


_MODES = {"effect": _effect, "swap": _swap, "steer": _steer}

if __name__ == "__main__":
    sys.exit(main())
