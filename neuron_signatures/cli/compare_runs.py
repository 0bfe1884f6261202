"""The flags of `poc9_compare_runs`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from neuron_signatures.cli.arguments import at_least, figure_formats, folder, number
from neuron_signatures.cli.model_flags import add_deterministic_flag
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import Progress, progress_of
from neuron_signatures.drift.labels import default_name, file_name, find_reference, labels_of
from neuron_signatures.drift.request import CompareRequest, Drawn, Source
from neuron_signatures.models.spec import DEVICE_MAPS, Dtype, ModelSpec
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.names import check_ids

if TYPE_CHECKING:
    from neuron_signatures.drift.dumps import Checkpoint, DumpRequest
    from neuron_signatures.dump.plan import DumpPlan

_DUMPING: Final = frozenset({
    "prompts_json", "out_dir", "model_name", "model_dtype", "save_dtype", "bos", "layers", "limit", "batch_size",
    "device_map", "trust_remote_code", "deterministic",
})  # fmt: skip
_OF_RUN: Final = frozenset({
    "reference", "prompts_json", "model_dtype", "save_dtype", "bos", "layers", "limit", "deterministic",
})  # fmt: skip
_ONLY_DUMPS: Final = frozenset({"first_pos", "include_bos", "max_tokens", "cka_tokens", "no_matches", "no_weights"})


def add_flags(parser: Parser) -> None:
    which = parser.add_argument_group("which runs")
    which.add_argument("--run_dir", type=folder, metavar="DIR",
                       help="the reference, the last of the runs; checkpoints are dumped with its prompts")  # fmt: skip
    form = which.add_mutually_exclusive_group(required=True)
    form.add_argument("--runs", nargs="+", type=folder, metavar="DIR", help="existing runs, in order")
    form.add_argument("--checkpoints", metavar="LIST",
                      help="demo, or folders of models between commas; they are dumped first (with --run_dir, demo is "
                           "the earlier checkpoints only)")  # fmt: skip
    form.add_argument("--model_revisions", metavar="LIST",
                      help="revisions of --model_name between commas, in order; dumped first")  # fmt: skip
    which.add_argument("--reference", metavar="LABEL", help="label or folder of the run that all others are compared "
                       "with, and into which the result is written; default: the last")  # fmt: skip
    which.add_argument("--name", metavar="NAME", help="of the comparison's folder; default: from the labels")
    which.add_argument("--from", dest="source", choices=get_args(Source), default="dumps",
                       help="activations of prompts (the default), or records of the same corpus")  # fmt: skip
    _add_dump_flags(parser)
    how = parser.add_argument_group("how they are compared")
    how.add_argument("--jaccard_k", type=at_least(1), default=10, metavar="K",
                     help="strongest tokens (records: windows) of a neuron; default 10")  # fmt: skip
    how.add_argument("--fires_above", type=number, default=0.0, metavar="X",
                     help="a neuron fires where its activation is larger; default 0")  # fmt: skip
    how.add_argument("--first_pos", type=at_least(0), metavar="N", help="first position that counts; default 1")
    how.add_argument("--include_bos", action="store_true", help="count the BOS too")
    how.add_argument("--max_tokens", type=at_least(4), default=20_000, metavar="N",
                     help="compare at most N tokens, of prompts drawn at random; default 20000")  # fmt: skip
    how.add_argument("--cka_tokens", type=at_least(4), default=2000, metavar="N",
                     help="of these, tokens of prompts drawn at random for CKA; default 2000")  # fmt: skip
    how.add_argument("--n_draws", type=at_least(20), default=200, metavar="N",
                     help="bootstrap draws, permutations and random halves; default 200")  # fmt: skip
    how.add_argument("--no_weights", action="store_true", help="load no model: no changes of weights, no loss")
    how.add_argument("--no_matches", action="store_true", help="do not match neurons across indices")
    how.add_argument("--figures", type=_formats, default=("png",), metavar="FORMATS",
                     help="png (the default), svg, png,svg or none")  # fmt: skip
    how.add_argument("--seed", type=at_least(0), default=0, help="of all draws; default 0")
    how.add_argument("--device", default="auto", help="of the models: auto, cpu, cuda, cuda:N or mps; default auto")
    output = parser.add_argument_group("output")
    output.add_argument("--dry_run", action="store_true", help="print what would be dumped and compared; then stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")


def _add_dump_flags(parser: Parser) -> None:
    group = parser.add_argument_group("dumps (--checkpoints, --model_revisions)")
    group.add_argument("--prompts_json", type=folder, metavar="FILE", help="prompts, as for stage 1")
    group.add_argument("--out_dir", type=folder, metavar="DIR", help="each checkpoint becomes the run DIR/<label>; "
                       "finished ones with the same prompts and settings are used again; default with --run_dir RUN: "
                       "RUN-checkpoints")  # fmt: skip
    group.add_argument("--model_name", metavar="NAME", help="the model on the Hub, for --model_revisions")
    dtypes = ("bf16", "fp16", "fp32")
    group.add_argument("--model_dtype", choices=dtypes, default="fp32", help="default: fp32")
    group.add_argument("--save_dtype", choices=dtypes, default="fp32", help="default: fp32")
    group.add_argument("--bos", choices=("prepend", "tokenizer", "off"), default="prepend", help="as in stage 1")
    group.add_argument("--layers", metavar="LIST", help="for example 0,3,5-8; default all")
    group.add_argument("--limit", type=at_least(1), metavar="N", help="only the first N prompts")
    group.add_argument("--batch_size", type=at_least(1), metavar="N", help="maximum prompts per forward pass")
    group.add_argument("--device_map", choices=DEVICE_MAPS, help="auto spreads the model over several GPUs")
    group.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")
    add_deterministic_flag(group)


def check_flags(args: Namespace, given: Collection[str]) -> None:
    """Raise `UsageError` for flags that have no effect together, or that are missing."""
    for flag in sorted(given):
        if args.runs is not None and flag in _DUMPING:
            raise UsageError("has no effect with --runs", where=f"--{flag}", next_step="The runs are dumped already")
        if args.source == "records" and flag in _ONLY_DUMPS:
            raise UsageError("has no effect with --from records", where=f"--{flag}")
    if args.run_dir is not None:
        _refuse_settings_of_run(given)
    if args.runs is not None:
        if len(args.runs) + (args.run_dir is not None) < 2:
            raise UsageError("needs at least two runs", where="--runs", next_step="Name them in order, the last one is "
                             "the reference")  # fmt: skip
        return
    if args.source == "records":
        raise UsageError("needs --runs", where="--from records", next_step="Make the records with stage 4")
    for flag in ("prompts_json", "out_dir") if args.run_dir is None else ():
        if getattr(args, flag) is None:
            raise UsageError("is needed to dump the checkpoints", where=f"--{flag}")
    if (args.model_revisions is None) != (args.model_name is None):
        raise UsageError("--model_revisions and --model_name go together")
    if args.checkpoints != "demo" and len(_listed(args)) + (args.run_dir is not None) < 2:
        fewest = "two, between commas" if args.run_dir is None else "one"
        flag = "--checkpoints" if args.model_revisions is None else "--model_revisions"
        raise UsageError(f"needs at least {fewest}", where=flag)


def _listed(args: Namespace) -> list[str]:
    """The checkpoints or revisions that are named."""
    names: str = args.checkpoints if args.model_revisions is None else args.model_revisions
    return [name.strip() for name in names.split(",") if name.strip()]


def _refuse_settings_of_run(given: Collection[str]) -> None:
    if clashing := sorted(_OF_RUN & set(given)):
        what = "is that of the run" if clashing[0] != "reference" else "is the run"
        raise UsageError(what, where=f"--{clashing[0]}", next_step="Leave it away, or leave --run_dir away")


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    if args.runs is None:
        return _dump_and_compare(args, argv)
    runs = [*args.runs, *([] if args.run_dir is None else [args.run_dir])]
    request = _request(args, runs, labels_of([_folder_name(path) for path in runs]))
    if args.dry_run:
        return _forecast_runs(args, request)
    return _compare(args, request)


def _dump_and_compare(args: Namespace, argv: Sequence[str]) -> int:
    from neuron_signatures.drift.dumps import dump_all, plan_dumps, run_dir

    dumping = _dump_request(args, argv)
    checkpoints = _checkpoints(args, dumping.model_dtype)
    runs = [run_dir(checkpoint, dumping) for checkpoint in checkpoints]
    labels = [checkpoint.label for checkpoint in checkpoints]
    if args.run_dir is not None:
        runs, labels = [*runs, args.run_dir], [*labels, _folder_name(args.run_dir)]
    request = _request(args, runs, labels_of(labels))
    plans = plan_dumps(checkpoints, dumping)
    if args.dry_run:
        return _forecast_dumps(args, request, plans)
    dump_all(plans, lambda tokens: Progress(tokens, quiet=args.quiet))
    return _compare(args, request)


def _compare(args: Namespace, request: CompareRequest) -> int:
    from neuron_signatures.drift.summary import lines, summary

    if request.source == "records":
        from neuron_signatures.drift.from_records import run_compare_records as run_compare
    else:
        from neuron_signatures.drift.stage import run_compare
    from neuron_signatures.drift.pictures import write_pictures

    found = run_compare(request, progress=progress_of(quiet=args.quiet), extras=write_pictures)
    where = str(request.runs[request.reference])
    if args.json:
        emit_json(summary(found, run=where, name=request.name))
    else:
        emit("\n".join(lines(found, run=where, name=request.name)))
    return ExitCode.OK


def _request(args: Namespace, runs: Sequence[Path], labels: tuple[str, ...]) -> CompareRequest:
    reference = find_reference(args.reference, labels, runs)
    if args.name is not None:
        check_ids([args.name], where="--name")
    return CompareRequest(
        runs=tuple(runs), labels=labels, reference=reference, name=args.name or default_name(labels, reference),
        source=args.source, drawn=Drawn(args.n_draws, args.max_tokens, args.cka_tokens, args.seed),
        jaccard_k=args.jaccard_k, fires_above=args.fires_above, first_pos=args.first_pos,
        include_bos=args.include_bos, weights=not args.no_weights, matches=not args.no_matches,
        figures=args.figures, device=args.device,
    )  # fmt: skip


def _folder_name(path: Path) -> str:
    return path.absolute().resolve().name or str(path)


def _checkpoints(args: Namespace, dtype: Dtype) -> list[Checkpoint]:
    from neuron_signatures.drift import dumps

    spec = ModelSpec(
        name=args.model_name or "", dtype=dtype, device=args.device, device_map=args.device_map,
        trust_remote_code=args.trust_remote_code, deterministic=args.deterministic,
    )  # fmt: skip
    if args.checkpoints == dumps.DEMO:
        return dumps.demo_checkpoints(spec, final=args.run_dir is None)
    names = _listed(args)
    return dumps.folders(names, spec) if args.model_revisions is None else dumps.revisions(names, spec)


def _dump_request(args: Namespace, argv: Sequence[str]) -> DumpRequest:
    from neuron_signatures.drift.dumps import DumpRequest, like_run
    from neuron_signatures.dump.prompts import read_prompts
    from neuron_signatures.runs.run import Run

    if args.run_dir is not None:
        out_dir = args.out_dir or args.run_dir.with_name(f"{_folder_name(args.run_dir)}-checkpoints")
        with Run.open(args.run_dir) as run:
            return like_run(run, out_dir, batch_size=args.batch_size, quiet=args.quiet, flags_given=tuple(argv))
    return DumpRequest(
        read_prompts(args.prompts_json, None, limit=args.limit), args.prompts_json, args.out_dir, args.model_dtype,
        args.save_dtype, args.bos, args.layers, args.batch_size, args.quiet, tuple(argv),
    )  # fmt: skip


def _forecast_runs(args: Namespace, request: CompareRequest) -> int:
    from neuron_signatures.drift.forecast import forecast
    from neuron_signatures.runs.manifest_file import read_manifest

    manifests = [read_manifest(path)[0] for path in request.runs]
    reference = manifests[request.reference]
    found = forecast(
        request, n_tokens=reference.n_tokens, n_layers=len(reference.layers), d_mlp=max(m.d_mlp for m in manifests)
    )
    emit_json({"compare": found.record()}) if args.json else emit(found.line())
    return ExitCode.OK


def _forecast_dumps(args: Namespace, request: CompareRequest, plans: Sequence[DumpPlan]) -> int:
    from neuron_signatures.drift.dumps import forecasts, is_dumped
    from neuron_signatures.drift.forecast import forecast
    from neuron_signatures.runs.files import human_bytes

    dumps, done = forecasts(plans), [is_dumped(plan) for plan in plans]
    found = forecast(request, n_tokens=dumps[-1].tokens, n_layers=dumps[-1].layers, d_mlp=dumps[-1].d_mlp)
    needed = sum(one.disk_bytes for one, is_there in zip(dumps, done, strict=True) if not is_there)
    fits = needed <= dumps[-1].free_bytes
    if args.json:
        rows = [
            {"label": label, "run": str(path), "dumped": is_there, **vars(one)}
            for label, path, is_there, one in zip(request.labels, request.runs, done, dumps, strict=True)
        ]
        emit_json({"dumps": rows, "needed_bytes": needed, "fits": fits, "compare": found.record()})
    else:
        for label, is_there, one in zip(request.labels, done, dumps, strict=True):
            state = "is there already" if is_there else f"{one.tokens:,} tokens, {human_bytes(one.disk_bytes)}"
            emit(f"dump     {file_name(label)}: {state}")
        verdict = "enough" if fits else "NOT ENOUGH"
        emit(f"disk     {human_bytes(needed)}, {human_bytes(dumps[-1].free_bytes)} free: {verdict}")
        emit(found.line())
    return ExitCode.OK if fits else ExitCode.FAILED


def _formats(text: str) -> tuple[str, ...]:
    return () if text == "none" else figure_formats(text)
