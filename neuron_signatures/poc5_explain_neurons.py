"""Stage 5: what neurons respond to and what they write, in words: by a language model, or by look-up rules.

Reads:  the records of a run (stage 4), or a folder of NeuronRecord files, or neuron puzzles.
Writes: RUN/explanations/ and RUN/llm/ (docs/poc5.md, docs/run-format.md). What is done is never asked or paid again.

    python -m neuron_signatures.poc5_explain_neurons --run_dir runs/demo
    python -m neuron_signatures.poc5_explain_neurons --run_dir runs/smol --llm local:smollm2 --explainer highlighted
    python -m neuron_signatures.poc5_explain_neurons --run_dir runs/smol --llm openai:gpt-4.1 --max_cost 5 --dry_run
    python -m neuron_signatures.poc5_explain_neurons --run_dir runs/smol --explainer contrastive --show_prompt L3N508+
    python -m neuron_signatures.poc5_explain_neurons edit --run_dir runs/smol --id ID --text "months of the year"

Further commands, each with --help: list, edit, vote, lock, unlock, note, import, export.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder, number
from neuron_signatures.cli.command import command
from neuron_signatures.cli.llm_flags import MODEL_FLAGS, add_budget_flags, add_llm_flags, llm_spec
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.pole_flags import add_pole_flags, check_pole_flags, neuron_request
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.sharding import add_shard_flags, check_shard_flags, run_on_engine
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, StoppedEarly, UsageError
from neuron_signatures.runs.explanations.names import EXPLAINERS, SETS

if TYPE_CHECKING:
    from neuron_signatures.explain.request import ExplainRequest
    from neuron_signatures.explain.stage import Opened

_MODULE = "neuron_signatures.poc5_explain_neurons"
_PROG = f"python -m {_MODULE}"
_COMMANDS = ("list", "edit", "vote", "lock", "unlock", "note", "import", "export")
_OF_MODELS = MODEL_FLAGS | {"temperature", "retry_failed", "n_samples", "revise", "modes", "select_by"}


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in _COMMANDS:
        return _run_command(argv[0], argv[1:])
    if argv and argv[0][:1] not in ("-", "@"):
        near = get_close_matches(argv[0], _COMMANDS, n=1)
        raise UsageError(
            f"there is no command {argv[0]!r}{f'; did you mean {near[0]}?' if near else ''}",
            next_step=f"Commands: {', '.join(_COMMANDS)}",
        )
    parser = make_parser()
    args = parser.parse_args(argv)
    setup_logging(quiet=args.quiet)
    check_flags(args, parser.given(argv))
    if args.engine is not None and not args.dry_run:
        if not args.llm.startswith("local:"):
            args.device = "cpu"  # no shard needs a GPU of its own
        return run_on_engine(_MODULE, parser, argv, args, prepare=None)
    with stop_on_signals(resume="run the same command"):
        return _explain(args, tuple(argv))


def make_parser() -> Parser:
    parser = Parser(prog=_PROG, description=__doc__)
    source = parser.add_argument_group("what is explained")
    where = source.add_mutually_exclusive_group(required=True)
    where.add_argument("--run_dir", type=folder, metavar="DIR", help="a run with records")
    where.add_argument("--dataset_path", type=folder, metavar="DIR",
                       help="NeuronRecord files, neurons/<layer>/<neuron>.json, for the run --out_dir")  # fmt: skip
    where.add_argument("--puzzles", type=folder, metavar="FILE",
                       help="hand-written neuron puzzles (JSON), for the run --out_dir")  # fmt: skip
    source.add_argument("--out_dir", type=folder, metavar="DIR", help="a new run, or that of the same command before")
    add_pole_flags(parser)
    _add_method_flags(parser)
    model = add_llm_flags(parser, without="look-up rules")
    model.add_argument("--temperature", type=number, default=1.0, metavar="T", help="default 1")
    model.add_argument("--max_tokens", type=at_least(1), metavar="N", help="of an answer; default: the explainer's")
    add_budget_flags(parser)
    add_shard_flags(parser)
    output = parser.add_argument_group("how it runs")
    output.add_argument("--show_prompt", metavar="NEURON",
                        help="print the exact prompt of a neuron, such as L3N508+, and stop")  # fmt: skip
    output.add_argument("--dry_run", action="store_true",
                        help="print neurons, requests, tokens and cost; send and write nothing")  # fmt: skip
    output.add_argument("--resume", action="store_true", help="the default: what the set has is not made again")
    output.add_argument(
        "--retry_failed",
        action="store_true",
        help="ask again where the status is not ok or there was too little evidence",
    )
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_method_flags(parser: Parser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument("--explainer", choices=EXPLAINERS, help="default: highlighted, lookup without a language model")
    group.add_argument("--n_samples", type=at_least(1), default=1, metavar="K",
                       help="answers to each prompt, the best of which is chosen; default 1")  # fmt: skip
    group.add_argument("--revise", type=at_least(0), default=0, metavar="N",
                       help="revise the best N times, by its worst mistakes; default 0")  # fmt: skip
    group.add_argument("--modes", type=at_least(1), default=1, metavar="M",
                       help="explain up to M clusters of the strongest texts each on its own; default 1")  # fmt: skip
    group.add_argument("--select_by", choices=("rule", "embedding"), default="embedding", metavar="SCORER",
                       help="what chooses, on texts of the part select: embedding (the default) or rule")  # fmt: skip
    group.add_argument("--n_windows", type=at_least(1), default=10, metavar="N",
                       help="strongest texts in a prompt; default 10")  # fmt: skip
    group.add_argument("--max_prompt_tokens", type=at_least(200), default=4000, metavar="N",
                       help="texts are left out, the weakest first, to stay below; default 4000")  # fmt: skip
    group.add_argument("--near_by_embedding", action="store_true",
                       help="contrastive: also show silent texts that are like the strongest (embeddings)")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of examples and requests; default 0")
    group.add_argument("--set", dest="set_name", metavar="NAME",
                       help="name of the set in RUN/explanations; default the explainer and the model")  # fmt: skip


def _run_command(name: str, argv: Sequence[str]) -> int:
    """A command of people, or an exchange of files."""
    if name in ("import", "export"):
        from neuron_signatures.cli.exchange_explanations import export_main, import_main

        return (import_main if name == "import" else export_main)(argv)
    from neuron_signatures.cli.explain_people import people_main

    return people_main(name, argv)


def check_flags(args: Namespace, given: set[str]) -> None:
    """Raise `UsageError` for flags that contradict each other. `given` are those of the command."""
    if (args.out_dir is None) != (args.run_dir is not None):
        what = "--out_dir is for --dataset_path and --puzzles" if args.out_dir else "no --out_dir for the new run"
        raise UsageError(what, next_step="Give --run_dir RUN, or one of these with --out_dir RUN")
    check_pole_flags(args)
    if args.set_name is not None and not SETS.is_name(args.set_name):
        what = "this is no name of a set: letters, digits, dot, hyphen and underscore, at most 100"
        raise UsageError(what, where=f"--set {args.set_name}")
    if args.limit is not None and (args.engine is not None or args.merge):
        raise UsageError("--limit leaves a set unfinished, and shards are joined when all are finished")
    _check_model_flags(args, given)
    check_shard_flags(args, given)


def _check_model_flags(args: Namespace, given: set[str]) -> None:
    """The explainer lookup asks no model, and the others do; a prompt can be shown without one."""
    if args.llm != "none":
        if args.explainer == "lookup":
            raise UsageError("the explainer lookup asks no language model", next_step="Leave --llm away")
        return
    if args.show_prompt is not None:
        if args.explainer == "lookup":
            raise UsageError("the explainer lookup has no prompt", next_step="Choose another --explainer")
        return
    if args.explainer not in (None, "lookup"):
        what = f"the explainer {args.explainer} asks a language model"
        raise UsageError(what, where="--llm none", next_step="Give --llm openai:MODEL or --llm local:NAME")
    if idle := sorted(_OF_MODELS & given):
        raise UsageError(f"--{idle[0]} is for a language model", next_step="Give --llm too, or leave it away")


def _explain(args: Namespace, flags_given: tuple[str, ...]) -> int:
    with _out_dir(args) as out_dir:
        return _explain_source(args, flags_given, out_dir)


@contextlib.contextmanager
def _out_dir(args: Namespace) -> Iterator[Path | None]:
    """`--out_dir`, or a temporary folder if it is new and the command writes nothing."""
    out_dir: Path | None = args.out_dir
    writes = not args.dry_run and args.show_prompt is None
    if out_dir is None or writes or (out_dir.exists() and not (out_dir.is_dir() and not any(out_dir.iterdir()))):
        yield out_dir
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary) / "run"


def _explain_source(args: Namespace, flags_given: tuple[str, ...], out_dir: Path | None) -> int:
    from neuron_signatures.explain.sources.opening import open_source
    from neuron_signatures.explain.stage import explain_neurons, opened

    source = open_source(run_dir=args.run_dir, dataset_path=args.dataset_path, puzzles=args.puzzles, out_dir=out_dir)
    source = replace(source, lines=tuple(line.replace(str(out_dir), str(args.out_dir)) for line in source.lines))
    with opened(_request(args, flags_given), source) as work:
        if args.show_prompt is not None:
            return _show_prompt(work, args)
        if args.dry_run:
            from neuron_signatures.explain.forecast import forecast

            found = forecast(work)
            emit_json(found.fields()) if args.json else emit("\n".join([*source.lines, *found.lines()]))
            return ExitCode.OK
        outcome = explain_neurons(work, progress_of(quiet=args.quiet))
    emit_json(outcome.fields()) if args.json else emit("\n".join([*source.lines, *outcome.lines()]))
    if outcome.stopped:
        raise StoppedEarly(outcome.stopped)
    return ExitCode.FAILED if outcome.tally.n_failed else ExitCode.OK


def _show_prompt(work: Opened, args: Namespace) -> int:
    from neuron_signatures.explain.show_prompt import shown_prompt

    shown = shown_prompt(work, args.show_prompt)
    emit_json(shown.fields()) if args.json else emit("\n".join(shown.lines()))
    return ExitCode.OK


def _request(args: Namespace, flags_given: tuple[str, ...]) -> ExplainRequest:
    from neuron_signatures.explain.method import Method, default_set_name
    from neuron_signatures.explain.request import ExplainRequest
    from neuron_signatures.llm.budget import Limits

    llm = llm_spec(args)
    asks = llm is not None or args.show_prompt is not None
    method = Method(
        explainer=args.explainer or ("highlighted" if asks else "lookup"), n_samples=args.n_samples,
        revise=args.revise, modes=args.modes, select_by=args.select_by, n_windows=args.n_windows,
        max_prompt_tokens=args.max_prompt_tokens, temperature=args.temperature, max_tokens=args.max_tokens,
        seed=args.seed, near_by_embedding=args.near_by_embedding,
    )  # fmt: skip
    # an engine's command itself explains nothing; its forecast is of the shards that it starts
    return ExplainRequest(
        neurons=neuron_request(args), method=method,
        set_name=args.set_name or default_set_name(method.explainer, args.llm),
        llm=llm, limits=Limits(max_requests=args.max_requests, max_cost=args.max_cost), price_file=args.price_file,
        use_cache=not args.no_cache, limit=args.limit, retry_failed=args.retry_failed, shard=args.shard,
        merge=args.merge, flags_given=flags_given,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
