"""`poc5_explain_neurons export` and `import`: explanations in the formats of other tools."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import folder
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.records.names import POLES

if TYPE_CHECKING:
    from neuron_signatures.explain.exchange.exported import ExportSummary
    from neuron_signatures.explain.exchange.imported import ImportSummary
    from neuron_signatures.explain.finetune import FinetuneSummary

_PROG = "python -m neuron_signatures.poc5_explain_neurons"
_FORMATS = ("openai", "delphi", "neuronpedia")


def export_main(argv: Sequence[str]) -> int:
    """Write the explanations of a set for another tool, or examples for training a model with --finetune."""
    args = export_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="run the same command with --overwrite"):
        if args.finetune is not None:
            return _finetune(args)
        if args.out_dir is None or args.format is None:
            raise UsageError("--format and --out_dir are needed", next_step="Or give --finetune FILE")
        from neuron_signatures.explain.exchange.delphi import HOOKPOINT
        from neuron_signatures.explain.exchange.exported import ExportOptions, export_explanations

        options = ExportOptions(
            args.run_dir, args.set, args.out_dir, args.format, pole=args.pole, all_samples=args.all,
            overwrite=args.overwrite, with_class_names=args.with_class_names, hookpoint=args.hookpoint or HOOKPOINT,
            model_id=args.model_id, layer_source=args.layer_source,
        )  # fmt: skip
        return _say(export_explanations(options), as_json=args.json)


def import_main(argv: Sequence[str]) -> int:
    """Add explanations of another tool to a run, as a new set."""
    args = import_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="run the same command again"):
        from neuron_signatures.explain.exchange.imported import ImportOptions, import_explanations

        options = ImportOptions(
            args.run_dir, args.source, args.format, args.set, pole=args.pole, layer_source=args.layer_source
        )
        return _say(import_explanations(options), as_json=args.json)


def export_parser() -> Parser:
    """The flags of `export`."""
    parser = Parser(prog=f"{_PROG} export", description=export_main.__doc__)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run with explanations")
    parser.add_argument("--set", required=True, metavar="NAME", help="the set")
    parser.add_argument("--format", choices=(*_FORMATS, "csv"), help="csv has both poles, the others one")
    parser.add_argument("--out_dir", type=folder, metavar="DIR", help="where the files go")
    parser.add_argument("--finetune", type=folder, metavar="FILE",
                        help="instead: prompts and answers as chat JSONL, for training a model")  # fmt: skip
    parser.add_argument("--task", choices=("explainer", "simulator"), default="explainer",
                        help="what --finetune trains; default explainer")  # fmt: skip
    parser.add_argument("--pole", choices=POLES, default="+", help="default +")
    parser.add_argument("--all", action="store_true", help="also samples that are not current; csv: also failures")
    parser.add_argument("--with_class_names", action="store_true", help="openai: name the class of each object")
    parser.add_argument("--hookpoint", metavar="NAME", help="delphi: default layers.{layer}.mlp")
    parser.add_argument("--model_id", metavar="ID", help="neuronpedia: id of the model; default its name")
    parser.add_argument("--layer_source", default="mlp", metavar="NAME",
                        help="neuronpedia: layers are <n>-NAME; default mlp")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    return _add_output_flags(parser)


def import_parser() -> Parser:
    """The flags of `import`."""
    parser = Parser(prog=f"{_PROG} import", description=import_main.__doc__)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run of the same model")
    parser.add_argument("--source", type=folder, required=True, metavar="PATH", help="a file, or a folder of files")
    parser.add_argument("--format", choices=_FORMATS, required=True)
    parser.add_argument("--set", required=True, metavar="NAME", help="the new set")
    parser.add_argument("--pole", choices=POLES, default="+", help="what the explanations are about; default +")
    parser.add_argument("--layer_source", metavar="NAME",
                        help="neuronpedia: only layers <n>-NAME; needed if the files have several")  # fmt: skip
    return _add_output_flags(parser)


def _finetune(args: Namespace) -> int:
    from neuron_signatures.explain.finetune import export_finetune

    return _say(export_finetune(args.run_dir, args.set, args.finetune, args.task), as_json=args.json)


def _add_output_flags(parser: Parser) -> Parser:
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON line on stdout")
    return parser


def _say(summary: ExportSummary | ImportSummary | FinetuneSummary, *, as_json: bool) -> int:
    from neuron_signatures.runs.plain import strict

    emit_json(strict(summary.fields())) if as_json else emit("\n".join(summary.lines()))
    return ExitCode.OK
