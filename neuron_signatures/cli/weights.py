"""The flags of `poc8_weights`, and the run and model that they name."""

from __future__ import annotations

import argparse
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from neuron_signatures.cli.arguments import at_least, figure_formats, folder, number, share
from neuron_signatures.cli.model_flags import add_quantization_flag, add_rerun_flags, model_overrides, model_spec
from neuron_signatures.cli.parser import Parser
from neuron_signatures.models.spec import Dtype
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.weights.folder import STAGE, WEIGHTS, Weight

if TYPE_CHECKING:
    from neuron_signatures.models.load import LoadedModel
    from neuron_signatures.runs.run import Run
    from neuron_signatures.weights.request import Target, WeightsRequest

MODULE: Final = f"neuron_signatures.{STAGE}"


def make_parser(description: str | None) -> Parser:
    parser = Parser(prog=f"python -m {MODULE}", description=description)
    parser.add_argument("--run_dir", type=folder, metavar="DIR", help="run whose model is read")
    parser.add_argument("--out_dir", type=folder, metavar="DIR",
                        help="a new run of --model_name that holds no prompts")  # fmt: skip
    parser.add_argument("--layers", metavar="LIST", help="such as 0,3,5-8; default all")
    _add_neighbour_flags(parser)
    _add_class_flags(parser)
    add_rerun_flags(
        parser, dtype_help="precision of the loaded weights; default: as in the run, of a new run as published"
    )
    new = parser.add_argument_group("the model of a new run")
    new.add_argument("--model_revision", metavar="REV", help="branch, tag or commit")
    add_quantization_flag(new)
    output = parser.add_argument_group("output")
    output.add_argument("--figures", type=figure_formats, default=(), metavar="FORMATS",
                        help="draw pictures into weights/figures/: png, svg or png,svg")  # fmt: skip
    output.add_argument("--overwrite", action="store_true", help="compute again what is finished")
    output.add_argument("--dry_run", action="store_true", help="print the forecast; then stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_neighbour_flags(parser: Parser) -> None:
    group = parser.add_argument_group("neighbours")
    group.add_argument("--neighbours", type=_weights, default=None, metavar="LIST",
                       help="by which weights: output,input,gate, or none; default all of the model")  # fmt: skip
    group.add_argument("--top", type=at_least(1), default=10, metavar="N", help="of each neuron; default 10")
    group.add_argument("--n_permuted", type=at_least(100), default=1000, metavar="N",
                       help="neurons whose coordinates are permuted, for the null; default 1000")  # fmt: skip


def _add_class_flags(parser: Parser) -> None:
    group = parser.add_argument_group("classes")
    group.add_argument("--kurtosis", type=number, default=10.0, metavar="K",
                       help="prediction and suppression: above it; default 10 (normal: 3)")  # fmt: skip
    group.add_argument("--null_quantile", type=share, default=0.999, metavar="Q",
                       help="partition, entropy and token_frequency: beyond this quantile of random "
                            "directions; default 0.999")  # fmt: skip
    group.add_argument("--entropy_norm", type=share, default=0.9, metavar="Q",
                       help="entropy: norm of w_out above this quantile of the layer; default 0.9")  # fmt: skip
    group.add_argument("--entropy_layers", type=share, default=0.1, metavar="SHARE",
                       help="entropy: in this share of the layers, the last; at least one; default 0.1")  # fmt: skip
    group.add_argument("--n_random", type=at_least(100), default=4000, metavar="N",
                       help="random directions, over all layers; default 4000")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of the nulls; default 0")


def weights_request(args: Namespace) -> WeightsRequest:
    from neuron_signatures.weights.request import Rules, WeightsRequest

    rules = Rules(args.kurtosis, args.null_quantile, args.entropy_norm, args.entropy_layers)
    return WeightsRequest(
        layers=args.layers, neighbours=args.neighbours, top=args.top, n_random=args.n_random,
        n_permuted=args.n_permuted, seed=args.seed, rules=rules,
    )  # fmt: skip


def check_target(args: Namespace) -> None:
    """Raise `UsageError` unless the flags name a run, or a model and a folder for a new run."""
    if (args.run_dir is None) == (args.out_dir is None):
        step = "Give one of the two"
        raise UsageError("--run_dir is an existing run, --out_dir a new one of --model_name", next_step=step)
    if args.run_dir is not None and (args.model_revision is not None or args.quantization in ("8bit", "4bit")):
        flag = "--quantization" if args.model_revision is None else "--model_revision"
        what, step = "the revision and quantisation are those of the run", "Leave it out, or make a new run (--out_dir)"
        raise UsageError(what, where=flag, next_step=step)
    if args.out_dir is not None and args.model_name is None:
        raise UsageError("a new run needs a model", where="--model_name", next_step="Such as --model_name demo")


def find_run(args: Namespace) -> Run | None:
    """The run, or None if it is to be made."""
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.units import need_neurons

    run_dir = args.run_dir or args.out_dir
    if args.run_dir is None and not Run.is_complete(run_dir):
        return None
    run = Run.open(run_dir, check="sha256")
    need_neurons(run, "stage 8")
    return run


def weights_target(args: Namespace, argv: list[str], run: Run | None) -> Target:
    """Loads the model of the run, or makes a run of a model. An `--out_dir` that a stopped command made is a run."""
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_model
    from neuron_signatures.weights.request import Target

    if run is None:
        return _new_run(args, argv)
    overrides = (
        model_overrides(args)
        if args.out_dir is None
        else ModelOverrides.of(model_spec(args, default_dtype=run.manifest.model_dtype))
    )

    def load() -> LoadedModel:
        return check_model(run, overrides)

    return Target(load, lambda: run)


def _new_run(args: Namespace, argv: list[str]) -> Target:
    from neuron_signatures.models.info import model_info
    from neuron_signatures.models.load import load_model
    from neuron_signatures.records.target_run import create_run, plan_for_model
    from neuron_signatures.runs.manifest import DTYPE_BYTES
    from neuron_signatures.runs.writer import check_folder
    from neuron_signatures.weights.request import Target

    check_folder(args.out_dir, "new")
    spec = model_spec(args)
    if args.model_dtype is None and (published := model_info(spec).checkpoint_dtype) in DTYPE_BYTES:
        spec = replace(spec, dtype=cast(Dtype, published))
    plan = plan_for_model(spec, None)

    def open_run() -> Run:
        run = create_run(args.out_dir, plan, tuple(argv), stage=STAGE)
        assert run is not None  # only None for shared runs
        return run

    return Target(lambda: load_model(plan.spec), open_run)


def _weights(text: str) -> tuple[Weight, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == ("none",):
        return ()
    if not names or any(name not in WEIGHTS for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not none or a list of {', '.join(WEIGHTS)}")
    return cast(tuple[Weight, ...], tuple(kind for kind in WEIGHTS if kind in names))
