"""Stage 4: what every neuron does on a corpus: its strongest windows, moments, histogram; all activations of some.

Reads:  documents, and a model: that of the run in --run_dir, or the one that --model_name names, for a new run that
        holds records and no prompts.
Writes: RUN/records/ (docs/poc4.md), and with --output_dir one NeuronRecord file per neuron.

    python -m neuron_signatures.poc4_extract_records --run_dir runs/demo --corpus demo --max_tokens 200000
    python -m neuron_signatures.poc4_extract_records --out_dir runs/smol --model_name smollm2 --corpus local \\
        --max_tokens 1000000 --neurons L29N1066,L29N864
    python -m neuron_signatures.poc4_extract_records --out_dir runs/pca --model_name demo --corpus demo \\
        --directions pca.safetensors --site res
    python -m neuron_signatures.poc4_extract_records export --run_dir runs/demo --format neuron_record --out_dir out
    python -m neuron_signatures.poc4_extract_records import --source out --out_dir runs/imported

Analyses of the records of a run, into RUN/corpus_analysis/ (docs/neurons.md):

    python -m neuron_signatures.poc4_extract_records similar --run_dir runs/demo
    python -m neuron_signatures.poc4_extract_records clusters --run_dir runs/demo --by activations,weights
    python -m neuron_signatures.poc4_extract_records meanings --run_dir runs/demo
    python -m neuron_signatures.poc4_extract_records ngrams --run_dir runs/demo
    python -m neuron_signatures.poc4_extract_records contrast --run_dir runs/demo --a 'token: Austin' --b 'token: Ohio'
"""

from __future__ import annotations

import argparse
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from neuron_signatures.cli.arguments import at_least, folder, parse_bytes
from neuron_signatures.cli.command import command
from neuron_signatures.cli.corpus_analysis import clusters, contrast, meanings, ngrams, similar
from neuron_signatures.cli.exchange_records import export_main, import_main
from neuron_signatures.cli.model_flags import add_model_flags, model_spec, prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.sharding import add_shard_flags, check_shard_flags, run_on_engine
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from neuron_signatures.records.request import ChosenNeurons, RecordsRequest

_MODULE = "neuron_signatures.poc4_extract_records"
_PROG = f"python -m {_MODULE}"

COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "export": export_main,
    "import": import_main,
    "similar": similar.main,
    "clusters": clusters.main,
    "meanings": meanings.main,
    "ngrams": ngrams.main,
    "contrast": contrast.main,
}
"""Subcommands: records in the formats of other tools, and analyses of records."""

# Without a source there is nothing that they could change.
_CORPUS_FLAGS = {
    "dataset_revision", "dataset_config", "split", "text_column", "max_tokens", "max_sequences", "max_document",
    "parts", "sequence_length", "stride", "skip_first", "concatenate",
}  # fmt: skip


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    parser = make_parser()
    args = parser.parse_args(argv)
    setup_logging(quiet=args.quiet)
    check_flags(args, parser.given(argv))
    if args.engine is not None and not args.dry_run:
        return run_on_engine(_MODULE, parser, argv, args, prepare=["--index_only"])
    if args.deterministic:
        prepare_for_determinism()
    in_shards = args.shard is not None or args.merge
    with stop_on_signals(resume=f"run the same command{'' if in_shards else ' with --resume'}"):
        return _extract(args, tuple(argv), given=parser.given(argv))


def make_parser() -> Parser:
    parser = Parser(prog=_PROG, description=__doc__)
    target = parser.add_argument_group("where the records go")
    where = target.add_mutually_exclusive_group()
    where.add_argument("--run_dir", type=folder, metavar="DIR", help="a run; its model is loaded and checked")
    where.add_argument("--out_dir", type=folder, metavar="DIR", help="a new run that holds records and no prompts")
    target.add_argument("--output_dir", type=folder, metavar="DIR",
                        help="NeuronRecord files at DIR/neurons/<layer>/<neuron>.json; without --run_dir and --out_dir "
                             "this folder is the new run")  # fmt: skip
    _add_direction_flags(parser)
    _add_corpus_flags(parser)
    _add_pass_flags(parser)
    _add_sample_flags(parser)
    add_shard_flags(parser)
    add_model_flags(parser)
    parser.add_argument("--model", dest="model_name", metavar="NAME", help="the same as --model_name",
                        default=argparse.SUPPRESS)  # fmt: skip
    output = parser.add_argument_group("how it runs")
    again = output.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue a stopped extraction")
    again.add_argument("--overwrite", action="store_true", help="make all records of the run again")
    output.add_argument("--index_only", action="store_true", help="read the corpus and stop; no weights are loaded")
    output.add_argument("--dry_run", action="store_true", help="print tokens, time, bytes and memory; write nothing")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_direction_flags(parser: Parser) -> None:
    group = parser.add_argument_group("units (default: the neurons of the model)")
    group.add_argument("--directions", type=folder, metavar="FILE",
                       help="of a new run: the units are the directions of this file (scripts/make_directions.py); a "
                            "unit's activation is the projection of its site on its direction")  # fmt: skip
    group.add_argument("--site", choices=("res", "att", "mlp", "neuron"), help="the directions of this site")
    group.add_argument("--source", metavar="NAME", help="the directions of this name, such as pca")


def _add_corpus_flags(parser: Parser) -> None:
    group = parser.add_argument_group("the corpus (default: the one that the run has)")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--corpus", metavar="WHAT",
                        help="a file or folder (text, JSONL, CSV, Parquet; .gz), demo (the demo world), or local "
                             "(English and code of the packages that are installed)")  # fmt: skip
    source.add_argument("--dataset", metavar="NAME", help="a Hugging Face dataset, streamed")
    group.add_argument("--dataset_revision", metavar="REV", help="branch, tag or commit of the dataset")
    group.add_argument("--dataset_config", metavar="NAME", help="configuration of the dataset")
    group.add_argument("--split", default="train", metavar="NAME", help="of the dataset; default train")
    group.add_argument("--text_column", default="text", metavar="NAME", help="column or key of the text; default text")
    group.add_argument("--max_tokens", type=at_least(1), metavar="N", help="stop reading after N tokens of text")
    group.add_argument("--max_sequences", type=at_least(1), metavar="N", help="stop reading after N windows")
    group.add_argument("--max_document", type=at_least(1), metavar="N",
                       help="cut longer texts into documents of N characters; default 1,048,576")  # fmt: skip
    group.add_argument("--parts", type=_parts, default=(50, 20, 30), metavar="A,B,C",
                       help="percent of the documents in explain, select and report; default 50,20,30")  # fmt: skip
    group.add_argument("--sequence_length", type=at_least(2), default=128, metavar="N",
                       help="tokens of a window, its BOS included; default 128")  # fmt: skip
    group.add_argument("--stride", type=at_least(1), metavar="N",
                       help="tokens between the starts of two windows; what overlaps is context and counts once; "
                            "default no overlap")  # fmt: skip
    group.add_argument("--skip_first", type=at_least(1), default=1, metavar="N",
                       help="positions at the start of each window that do not count; default 1")  # fmt: skip
    group.add_argument("--concatenate", action="store_true", help="join documents, with the end-of-text token between")
    group.add_argument("--bos", choices=("prepend", "tokenizer", "off"),
                       help="BOS in front of windows; default: as in the run, or as the tokenizer")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of the parts and samples; default 0")


def _add_pass_flags(parser: Parser) -> None:
    group = parser.add_argument_group("all neurons")
    layers = group.add_mutually_exclusive_group()
    layers.add_argument("--layer_index", type=at_least(0), metavar="N", help="one layer")
    layers.add_argument("--layer_indices", type=at_least(0), nargs="+", metavar="N", help="several layers")
    layers.add_argument("--all_layers", action="store_true", help="all layers, which is the default")
    group.add_argument("--top_records", type=at_least(1), default=100, metavar="K",
                       help="strongest windows per neuron, pole and part; default 100")  # fmt: skip
    group.add_argument("--batch_size", type=at_least(1), metavar="N", help="windows that run together")
    group.add_argument("--checkpoint_seconds", type=at_least(0), default=120, metavar="S",
                       help="time between two checkpoints; default 120")  # fmt: skip


def _add_sample_flags(parser: Parser) -> None:
    group = parser.add_argument_group("neurons that are kept whole (default: of the run's ranked lists, else all)")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--neurons", metavar="LIST", help="such as L3N508,L4N178")
    which.add_argument("--neuron_indices", type=at_least(0), nargs="+", metavar="N", help="of every chosen layer")
    which.add_argument("--from", dest="from_list", metavar="LIST",
                       help="the first --top_k of a list: its file stem, peaks, signatures or group:NAME")  # fmt: skip
    group.add_argument("--top_k", type=at_least(1), metavar="K", help="of --from; default 100")
    group.add_argument("--sample_windows", type=at_least(1), default=2000, metavar="N",
                       help="windows of the uniform sample; default 2000")  # fmt: skip
    group.add_argument("--sample_size", type=parse_bytes, default=parse_bytes("2GB"), metavar="SIZE",
                       help="most bytes of activations; default 2GB")  # fmt: skip


def _parts(text: str) -> tuple[int, ...]:
    match = re.fullmatch(r"(\d{1,3}),(\d{1,3}),(\d{1,3})", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not three percentages such as 50,20,30")
    return tuple(int(n) for n in match.groups())


def check_flags(args: Namespace, given: set[str]) -> None:
    """Raise `UsageError` for flags that contradict each other. `given` are those of the command."""
    if args.run_dir is None and args.out_dir is None and args.output_dir is None:
        raise UsageError("no run: give --run_dir RUN, or --out_dir RUN and --model_name NAME")
    if args.top_k is not None and args.from_list is None:
        what = "--top_k counts the neurons of --from"
        raise UsageError(what, next_step="--top_records is the number of strongest windows")
    _check_direction_flags(args)
    check_shard_flags(args, given)
    idle = sorted(_CORPUS_FLAGS & given) if args.corpus is None and args.dataset is None else []
    if idle:
        raise UsageError(f"--{idle[0]} is for reading a corpus", next_step="Give --corpus or --dataset too")
    fixed = {"model_revision", "quantization"} & given if args.run_dir is not None else set()
    if fixed:
        raise UsageError(f"--{min(fixed)} is that of the run", next_step="Leave it away, or make a new run (--out_dir)")


def _check_direction_flags(args: Namespace) -> None:
    if args.directions is None:
        for name in ("site", "source"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} chooses directions of a file", next_step="Give --directions FILE too")
    elif args.run_dir is not None:
        what = "the units of a run are fixed when it is made"
        raise UsageError(what, where="--directions", next_step="Make a new run: --out_dir RUN instead of --run_dir")


def _extract(args: Namespace, flags_given: tuple[str, ...], *, given: set[str]) -> int:
    from neuron_signatures.records.forecast import forecast
    from neuron_signatures.records.stage import extract_records

    request = _request(args, flags_given, given)
    if args.dry_run:
        found = forecast(request)
        emit_json(found.fields()) if args.json else emit("\n".join(found.lines()))
        return ExitCode.OK if found.fits else ExitCode.FAILED
    summary = extract_records(request, progress_of(quiet=args.quiet))
    fields = summary.fields()
    if not args.json:
        emit("\n".join(summary.lines()))  # also if the export fails
    whole = args.shard is None and not args.index_only  # shards would export beside each other
    if args.output_dir is not None and summary.records is not None and whole:
        from neuron_signatures.records.exchange.command import export_folder
        from neuron_signatures.runs.plain import strict

        exported = export_folder(request.run_dir, args.output_dir)
        fields["exported"] = strict(exported.fields())
        if not args.json:
            emit("\n".join(exported.lines()))
    if args.json:
        emit_json(fields)
    return ExitCode.OK


def _request(args: Namespace, flags_given: tuple[str, ...], given: set[str]) -> RecordsRequest:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
    from neuron_signatures.records.corpus.settings import MAX_DOCUMENT, CorpusSettings
    from neuron_signatures.records.corpus.sources.choose import corpus_source, dataset_source
    from neuron_signatures.records.request import (
        CorpusRequest,
        DirectionsRequest,
        ExistingRun,
        NewRun,
        PassRequest,
        RecordsRequest,
        SampleRequest,
    )
    from neuron_signatures.runs.sharding.shard import Shard

    max_document, source = args.max_document or MAX_DOCUMENT, None
    if args.corpus is not None:
        source = corpus_source(args.corpus, text_column=args.text_column, max_document=max_document, seed=args.seed)
    elif args.dataset is not None:
        source = dataset_source(
            args.dataset, split=args.split, text_column=args.text_column, revision=args.dataset_revision,
            config=args.dataset_config,
        )  # fmt: skip
    settings = CorpusSettings(
        sequence_length=args.sequence_length, stride=args.stride, skip_first=args.skip_first, parts=args.parts,
        seed=args.seed, max_tokens=args.max_tokens, max_windows=args.max_sequences,
        max_document=max_document,
    )  # fmt: skip
    # an engine's command itself computes no shard; its forecast is of the shards that it starts
    shard = Shard(1, args.n_shards) if args.dry_run and args.n_shards is not None else args.shard
    layers = args.layer_indices or ([args.layer_index] if args.layer_index is not None else None)
    overrides = ModelOverrides(
        args.model_name if "model_name" in given else None, args.model_dtype if "model_dtype" in given else None,
        args.device, args.device_map, args.trust_remote_code, args.deterministic,
    )  # fmt: skip
    directions = None if args.directions is None else DirectionsRequest(args.directions, args.site, args.source)
    return RecordsRequest(
        target=ExistingRun(args.run_dir, overrides) if args.run_dir is not None
        else NewRun(args.out_dir or args.output_dir, model_spec(args), directions),
        corpus=CorpusRequest(source, settings, args.concatenate, args.bos),
        first=PassRequest(
            None if layers is None else tuple(sorted(set(layers))), args.top_records, args.batch_size,
            float(args.checkpoint_seconds), shard, args.merge,
        ),
        sample=SampleRequest(_chosen(args), args.sample_windows, args.sample_size, args.seed),
        resume=args.resume, overwrite=args.overwrite, index_only=args.index_only, flags_given=flags_given,
    )  # fmt: skip


def _chosen(args: Namespace) -> ChosenNeurons:
    """The neurons that the flags name, those of the run's lists, or all."""
    from neuron_signatures.interventions.choice.neurons import Request, choose_neurons, neurons_of_lists, parse_names
    from neuron_signatures.records.request import ChosenNeurons
    from neuron_signatures.runs.run import Run

    if args.neuron_indices is not None:
        return ChosenNeurons("--neuron_indices", explicit=True, indices=tuple(sorted(set(args.neuron_indices))))
    if args.run_dir is None:
        if args.from_list is not None:
            raise UsageError("a new run has no lists", where=f"--from {args.from_list}", next_step="Use --neurons")
        if args.neurons is None:
            return ChosenNeurons("all neurons", explicit=False)
        named = parse_names(args.neurons.split(","), "--neurons")
        return ChosenNeurons("--neurons", explicit=True, neurons=tuple((n.layer, n.neuron) for n in named))
    with Run.open(args.run_dir) as run:
        if args.neurons is not None or args.from_list is not None:
            request = Request(names=args.neurons, from_list=args.from_list, top_k=args.top_k or 100)
            found = [(n.layer, n.neuron) for n in choose_neurons(run, request)]
            by = "--neurons" if args.neurons is not None else f"--from {args.from_list}"
            return ChosenNeurons(by, explicit=True, neurons=tuple(found))
        listed = neurons_of_lists(run, 100)
    if listed:
        return ChosenNeurons("the run's ranked lists", explicit=False, neurons=listed)
    return ChosenNeurons("all neurons", explicit=False)


if __name__ == "__main__":
    sys.exit(main())
