"""The flags of `poc7_compare_skills --mode collect`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder, share
from neuron_signatures.cli.model_flags import (
    add_quantization_flag,
    add_rerun_flags,
    model_overrides,
    model_spec,
    prepare_for_determinism,
)
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.skills.shared import CHOICE
from neuron_signatures.runs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from neuron_signatures.records.request import ExistingRun, NewRun
    from neuron_signatures.skills.collect.request import CollectRequest

_MODEL = {
    "model_name", "model_revision", "model_dtype", "device", "device_map", "quantization", "trust_remote_code",
    "deterministic",
}  # fmt: skip

FLAGS = CHOICE | _MODEL | {
    "out_dir", "texts", "saes", "directions", "n_texts", "max_length", "skip_first", "bos", "top_k", "quantile",
    "sample_tokens", "batch_size", "force", "resume", "overwrite", "dry_run",
}  # fmt: skip


def add_flags(parser: Parser) -> None:
    """What only this mode has."""
    group = parser.add_argument_group("collect: texts and units")
    group.add_argument("--out_dir", type=folder, metavar="DIR",
                       help="a new run of --model_name that holds skills and no prompts")  # fmt: skip
    group.add_argument("--texts", metavar="WHAT",
                       help="demo, or a file with text, class and perhaps skill: JSON lines, CSV, Parquet")  # fmt: skip
    group.add_argument("--saes", metavar="WHAT",
                       help="sparse autoencoders: demo, gemma-scope, a release or a folder; default none")  # fmt: skip
    group.add_argument("--directions", type=folder, metavar="FILE", help="directions whose projections are units")
    group.add_argument("--n_texts", type=at_least(2), metavar="N",
                       help="at most N texts of each class; default all, of demo 200")  # fmt: skip
    group.add_argument("--max_length", type=at_least(3), default=128, metavar="N",
                       help="cut texts after N tokens; default 128")  # fmt: skip
    group.add_argument("--skip_first", type=at_least(1), default=1, metavar="N",
                       help="positions at the start of a text that do not count; default 1")  # fmt: skip
    group.add_argument("--bos", choices=("prepend", "tokenizer", "off"),
                       help="BOS in front of texts; default: as in the run, or as the tokenizer")  # fmt: skip
    group.add_argument("--top_k", type=at_least(1), default=3, metavar="K",
                       help="strongest units of each bank at every token; default 3")  # fmt: skip
    group.add_argument("--quantile", type=share, default=0.99, metavar="Q",
                       help="neurons and directions fire above this quantile of theirs; default 0.99")  # fmt: skip
    group.add_argument("--sample_tokens", type=at_least(10), default=2000, metavar="N",
                       help="tokens of the uniform sample; default 2000")  # fmt: skip
    group.add_argument("--batch_size", type=at_least(1), metavar="N", help="texts that run together")
    group.add_argument("--force", action="store_true", help="go on with autoencoders whose FVU is above 1")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue a stopped command")
    again.add_argument("--overwrite", action="store_true", help="collect again")
    add_rerun_flags(parser, dtype_help="precision of the model; of a new run bf16")
    new = parser.add_argument_group("the model of a new run")
    new.add_argument("--model_revision", metavar="REV", help="branch, tag or commit")
    add_quantization_flag(new)


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    if args.deterministic:
        prepare_for_determinism()
    from neuron_signatures.skills.collect.forecast import forecast
    from neuron_signatures.skills.collect.stage import collect

    request = _request(args, tuple(argv))
    if args.dry_run:
        found = forecast(request)
        emit_json(found.fields()) if args.json else emit("\n".join(found.lines()))
        return ExitCode.OK if found.fits else ExitCode.FAILED
    summary = collect(request, progress_of(quiet=args.quiet))
    emit_json(summary.fields()) if args.json else emit("\n".join(summary.lines()))
    return ExitCode.OK


def _request(args: Namespace, argv: tuple[str, ...]) -> CollectRequest:
    from neuron_signatures.skills.collect.request import BanksRequest, CollectRequest, TextsRequest

    if args.texts is None:
        step = "Give --texts FILE with text, class and perhaps skill, or --texts demo"
        raise UsageError("--mode collect needs labelled texts", where="--texts", next_step=step)
    return CollectRequest(
        target=_target(args),
        texts=TextsRequest(args.texts, args.n_texts, args.classes, args.max_length, args.skip_first, args.bos),
        banks=BanksRequest(args.saes, args.directions, args.sources, args.sites, args.layers),
        top_k=args.top_k, quantile=args.quantile, sample_tokens=args.sample_tokens, batch_size=args.batch_size,
        seed=args.seed, force=args.force, resume=args.resume, overwrite=args.overwrite, flags_given=argv,
    )  # fmt: skip


def _target(args: Namespace) -> ExistingRun | NewRun:
    from neuron_signatures.records.request import ExistingRun, NewRun

    if (args.run_dir is None) == (args.out_dir is None):
        step = "Give one of the two"
        raise UsageError("--run_dir is an existing run, --out_dir a new one of --model_name", next_step=step)
    if args.run_dir is not None:
        if args.model_revision is not None or args.quantization in ("8bit", "4bit"):
            raise UsageError("the revision and quantisation are those of the run", where="--model_revision",
                             next_step="Leave them away, or make a new run (--out_dir)")  # fmt: skip
        return ExistingRun(Path(args.run_dir), model_overrides(args))
    if args.model_name is None:
        raise UsageError("a new run needs a model", where="--model_name", next_step="Such as --model_name demo")
    return NewRun(args.out_dir, model_spec(args))
