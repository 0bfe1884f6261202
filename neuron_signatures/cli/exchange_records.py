"""`poc4_extract_records export` and `import`: records of neurons in the formats of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.records.names import PARTS

if TYPE_CHECKING:
    from neuron_signatures.records.exchange.options import ExportSummary, ImportSummary

_PROG = "python -m neuron_signatures.poc4_extract_records"
_FORMATS = ("neuron_record", "neuronpedia")


def export_main(argv: Sequence[str]) -> int:
    """Write the neurons that a run keeps whole in another format."""
    args = export_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="run the same command with --overwrite"):
        from neuron_signatures.interventions.choice.neurons import parse_names
        from neuron_signatures.records.exchange.export import export_records
        from neuron_signatures.records.exchange.options import ExportOptions

        named = None if args.neurons is None else parse_names(args.neurons.split(","), "--neurons")
        options = ExportOptions(
            args.format, args.out_dir, parts=PARTS if args.split is None else (args.split,),
            neurons=None if named is None else tuple((n.layer, n.neuron) for n in named),
            n_strongest=args.n_strongest, n_random=args.n_random, seed=args.seed,
            with_class_names=args.with_class_names, overwrite=args.overwrite, model_id=args.model_id,
            source=args.source,
        )  # fmt: skip
        return _say(export_records(args.run_dir, options), as_json=args.json)


def import_main(argv: Sequence[str]) -> int:
    """Make a run of records in another format."""
    args = import_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    with stop_on_signals(resume="remove the folder and run the command again"):
        from neuron_signatures.records.exchange.imported import import_records
        from neuron_signatures.records.exchange.options import ImportOptions

        options = ImportOptions(
            args.source, args.out_dir, args.format, model_name=args.model_name, n_layers=args.n_layers,
            d_mlp=args.d_mlp, skip_first=args.skip_first,
        )  # fmt: skip
        return _say(import_records(options), as_json=args.json)


def export_parser() -> Parser:
    """The flags of `export`."""
    parser = Parser(prog=f"{_PROG} export", description=export_main.__doc__)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run with records")
    parser.add_argument("--out_dir", type=folder, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--format", choices=_FORMATS, default="neuron_record", help="default: neuron_record")
    parser.add_argument("--neurons", metavar="LIST", help="such as L3N508,L4N178; default all that are kept whole")
    parser.add_argument("--split", choices=PARTS, help="only documents of this part; default all")
    parser.add_argument("--n_strongest", type=at_least(1), default=100, metavar="N", help="default 100")
    parser.add_argument("--n_random", type=at_least(0), default=50, metavar="N", help="random windows; default 50")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the random windows; default 0")
    parser.add_argument("--with_class_names", action="store_true", help="name the class of each object (NeuronRecord)")
    parser.add_argument("--model_id", metavar="ID", help="Neuronpedia: id of the model; default its name")
    parser.add_argument("--source", default="mlp", metavar="NAME", help="Neuronpedia: layers are <n>-NAME; default mlp")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier export")
    return _add_output_flags(parser)


def import_parser() -> Parser:
    """The flags of `import`."""
    parser = Parser(prog=f"{_PROG} import", description=import_main.__doc__)
    parser.add_argument("--source", type=folder, required=True, metavar="DIR", help="the folder with the files")
    parser.add_argument("--out_dir", type=folder, required=True, metavar="DIR", help="the new run")
    parser.add_argument("--format", choices=_FORMATS, default="neuron_record", help="default: neuron_record")
    parser.add_argument("--model_name", metavar="NAME", help="default: that of the files, else imported")
    parser.add_argument(
        "--n_layers", type=at_least(1), metavar="N", help="layers of the model; default as in the files"
    )
    parser.add_argument("--d_mlp", type=at_least(1), metavar="N", help="neurons per layer; default as in the files")
    parser.add_argument("--skip_first", type=at_least(0), default=0, metavar="N",
                        help="positions of each text that do not count; default 0")  # fmt: skip
    return _add_output_flags(parser)


def _add_output_flags(parser: Parser) -> Parser:
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON line on stdout")
    return parser


def _say(summary: ExportSummary | ImportSummary, *, as_json: bool) -> int:
    from neuron_signatures.runs.plain import strict

    emit_json(strict(summary.fields())) if as_json else emit("\n".join(summary.lines()))
    return ExitCode.OK
