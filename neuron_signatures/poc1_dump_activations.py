"""Stage 1: run prompts through a model and store every MLP neuron's activations.

Reads:  a prompts file (JSON list or JSON Lines of {"id", "text"} or {"id", "messages"}) or one prompt.
Writes: a run folder: manifest.json, activations.safetensors (docs/run-format.md).

    python -m neuron_signatures.poc1_dump_activations --prompts_json docs/probe_prompts_list.json \\
        --out_dir runs/poc1_test --model_name demo --model_dtype fp32
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder, parse_bytes
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import add_model_flags, model_spec, prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.names import default_run_dir

if TYPE_CHECKING:
    from neuron_signatures.dump.config import DumpConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    if args.resume and args.out_dir is None:
        raise UsageError("--resume needs the --out_dir of the stopped dump")
    with stop_on_signals(resume="run the same command with --out_dir and --resume"):
        return _run(args, tuple(sys.argv[1:] if argv is None else argv))


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.poc1_dump_activations", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompts_json", type=folder, metavar="FILE", help="JSON list or JSON Lines of prompts")
    source.add_argument("--single_prompt", metavar="TEXT", help="one prompt instead of a file")
    parser.add_argument("--out_dir", type=folder, metavar="DIR", help="default: runs/poc1_<UTC time>_<random>")
    add_model_flags(parser)
    what = parser.add_argument_group("what is stored")
    dtypes = ("bf16", "fp16", "fp32")
    what.add_argument("--save_dtype", choices=dtypes, default="bf16", help="default: bf16")
    formats = ("safetensors", "pt")
    what.add_argument("--save_format", choices=formats, default="safetensors", help="default: safetensors")
    what.add_argument("--shard_size", type=parse_bytes, default=parse_bytes("512MB"), metavar="SIZE",
                      help="bytes of activations per file, default 512MB")  # fmt: skip
    what.add_argument("--layers", metavar="LIST", help="for example 0,3,5-8; default all")
    what.add_argument("--limit", type=at_least(1), metavar="N", help="only the first N prompts")
    what.add_argument("--truncate", type=at_least(1), nargs="?", const=0, metavar="N",
                      help="truncate prompts to N tokens, or to the model's context; "
                      "by default longer ones are refused")  # fmt: skip
    bos = what.add_mutually_exclusive_group()
    bos.add_argument("--bos", choices=("prepend", "tokenizer", "off"), default="prepend",
                     help="prepend one BOS token, do what the tokenizer does, or no BOS; default: prepend")  # fmt: skip
    bos.add_argument("--no_prepend_bos", dest="bos", action="store_const", const="off", help="the same as --bos off")
    what.add_argument("--check_finite", action="store_true", help="fail prompts with NaN or infinite activations")
    how = parser.add_argument_group("how it runs")
    how.add_argument("--backend", choices=("transformers", "transformer_lens"), default="transformers",
                     help="what runs the model: transformers, the default, or TransformerLens, which is slower, "
                     "for models that only it adapts")  # fmt: skip
    how.add_argument("--batch_size", type=at_least(1), metavar="N",
                     help="maximum prompts per forward pass; default: fitted to memory")  # fmt: skip
    how.add_argument("--seed", type=at_least(0), default=0, help="default 0; the dump itself uses no randomness")
    again = how.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue a stopped dump in --out_dir")
    again.add_argument("--overwrite", action="store_true", help="replace the run in --out_dir")
    how.add_argument("--dry_run", action="store_true", help="print tokens and sizes; load no weights, write nothing")
    how.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    how.add_argument("--json", action="store_true", help="the summary as one JSON line on stdout")
    return parser


def _run(args: Namespace, flags_given: tuple[str, ...]) -> int:
    if args.deterministic:
        prepare_for_determinism()
    from neuron_signatures.dump.prompts import read_prompts

    config = _config(args, flags_given)
    # First what needs no model library, because importing them takes seconds.
    prompts = read_prompts(config.prompts_json, config.single_prompt, limit=config.limit)
    _check_out_dir(config, dry_run=args.dry_run)

    from neuron_signatures.cli.progress import Progress
    from neuron_signatures.dump.dump import dump
    from neuron_signatures.dump.estimate import describe, dry_run
    from neuron_signatures.dump.plan import plan_dump

    plan = plan_dump(config, prompts)
    if args.dry_run:
        found = dry_run(plan)
        emit_json(found.__dict__) if args.json else emit("\n".join(describe(found)))
        return ExitCode.OK if found.fits else ExitCode.FAILED
    summary = dump(plan, lambda tokens: Progress(tokens, quiet=args.quiet))
    emit_json(summary.__dict__) if args.json else emit("\n".join(summary.lines()))
    return ExitCode.FAILED if summary.failed else ExitCode.OK


def _config(args: Namespace, flags_given: tuple[str, ...]) -> DumpConfig:
    from neuron_signatures.dump.config import DumpConfig

    return DumpConfig(
        model=model_spec(args),
        backend=args.backend,
        prompts_json=args.prompts_json,
        single_prompt=args.single_prompt,
        out_dir=args.out_dir or default_run_dir(Path("runs"), "poc1"),
        save_dtype=args.save_dtype,
        save_format=args.save_format,
        shard_bytes=args.shard_size,
        bos=args.bos,
        batch_size=args.batch_size,
        layers=args.layers,
        limit=args.limit,
        truncate=args.truncate,
        seed=args.seed,
        check_finite=args.check_finite,
        resume=args.resume,
        overwrite=args.overwrite,
        quiet=args.quiet,
        flags_given=flags_given,
    )


def _check_out_dir(config: DumpConfig, *, dry_run: bool) -> None:
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.writer import check_folder, check_place

    if dry_run:
        check_place(config.out_dir)
    elif not (config.resume and Run.is_complete(config.out_dir)):
        check_folder(config.out_dir, config.mode)


if __name__ == "__main__":
    sys.exit(main())
