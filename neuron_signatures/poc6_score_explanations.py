"""Stage 6: how good each explanation is, how good a null would have been, and how sure that is.

Reads:  the records (stage 4) and the explanations (stage 5) of a run.
Writes: RUN/scores/, and RUN/llm/ if a language model is asked (docs/poc6.md, docs/run-format.md). What is done is never
        asked or paid again.

    python -m neuron_signatures.poc6_score_explanations --run_dir runs/demo
    python -m neuron_signatures.poc6_score_explanations --run_dir runs/demo --sets lookup --scorers rule,embedding
    python -m neuron_signatures.poc6_score_explanations --run_dir runs/smol --scorers logits --llm local:smollm2
    python -m neuron_signatures.poc6_score_explanations --run_dir runs/smol --scorers json,detection \\
        --llm openai:gpt-4.1-mini --max_cost 5 --dry_run

Further commands, each with --help: summary, compare.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.command import command
from neuron_signatures.cli.llm_flags import MODEL_FLAGS, add_budget_flags, add_llm_flags, llm_spec
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.pole_flags import add_pole_flags, check_pole_flags, neuron_request
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode, StoppedEarly, UsageError
from neuron_signatures.runs.scores.names import CONTROLS, SCORERS, SIMULATORS

if TYPE_CHECKING:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
    from neuron_signatures.scoring.stage.request import ScoreRequest

_PROG = "python -m neuron_signatures.poc6_score_explanations"
_COMMANDS = ("summary", "compare")
_OF_MODELS = MODEL_FLAGS | {"retry_failed"}
_RUN_THE_MODEL = {"generation", "intervention", "fade"}
_OF_SUBJECT = {"subject_model_name", "subject_dtype", "subject_device", "trust_remote_code"}
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,40}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in _COMMANDS:
        from neuron_signatures.cli.score_tables import compare_main, summary_main

        return (summary_main if argv[0] == "summary" else compare_main)(argv[1:])
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
    with stop_on_signals(resume="run the same command"):
        return _score(args, tuple(argv))


def make_parser() -> Parser:
    parser = Parser(prog=_PROG, description=__doc__)
    source = parser.add_argument_group("what is scored")
    source.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="a run with explanations")
    source.add_argument("--sets", type=_list_of(None), metavar="LIST",
                        help="sets of explanations; default all that are finished")  # fmt: skip
    add_pole_flags(parser)
    _add_method_flags(parser)
    model = add_llm_flags(parser, without="scorers that need none")
    model.add_argument("--embedding_device", default="auto", metavar="DEVICE",
                       help="of the scorer embedding: cpu, cuda, cuda:N, mps or auto")  # fmt: skip
    _add_subject_flags(parser)
    add_budget_flags(parser)
    output = parser.add_argument_group("how it runs")
    output.add_argument("--dry_run", action="store_true",
                        help="print items, requests, tokens and cost; send and write nothing")  # fmt: skip
    output.add_argument("--resume", action="store_true", help="the default: what was scored is not scored again")
    output.add_argument("--retry_failed", action="store_true", help="send the requests again that failed")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_method_flags(parser: Parser) -> None:
    group = parser.add_argument_group("how")
    group.add_argument("--scorers", type=_list_of(SCORERS), default=("embedding",), metavar="LIST",
                       help=f"some of {', '.join(SCORERS)}; default embedding. rule needs nothing")  # fmt: skip
    group.add_argument("--part", choices=("report", "select"), default="report",
                       help="of the corpus; default report. Values on select only serve to choose")  # fmt: skip
    group.add_argument("--sampling", choices=("standard", "sixty"), default="standard",
                       help="top, random and uniform windows (the default), or sixty examples")  # fmt: skip
    group.add_argument("--n_top", type=at_least(1), default=5, metavar="N", help="strongest windows; default 5")
    group.add_argument("--n_random", type=at_least(1), default=5, metavar="N", help="random windows; default 5")
    group.add_argument("--n_uniform", type=at_least(1), metavar="N",
                       help="uniform windows; default all, 20 for logits, top_logprobs and json")  # fmt: skip
    group.add_argument("--min_positives", type=at_least(1), default=5, metavar="N",
                       help="least active positions (or windows) for a score to be defined; default 5")  # fmt: skip
    group.add_argument("--controls", type=_list_of(CONTROLS), default=CONTROLS, metavar="LIST",
                       help=f"some of {', '.join(CONTROLS)}; default all. other is the null")  # fmt: skip
    group.add_argument("--n_null", type=at_least(0), default=5, metavar="N",
                       help="explanations of other neurons per neuron, which are the null; default 5")  # fmt: skip
    group.add_argument("--n_draws", type=at_least(1), default=1000, metavar="N",
                       help="draws of documents for an interval; default 1000")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of windows, draws and requests; default 0")
    group.add_argument("--label", type=_label, metavar="NAME",
                       help="added to the names of the files, for scores made in another way")  # fmt: skip


def _add_subject_flags(parser: Parser) -> None:
    group = parser.add_argument_group(
        "the model of the run, for scorers that run it: generation, intervention, fade (default: as in the manifest)"
    )
    group.add_argument("--subject_model_name", metavar="NAME", help="path or name of the same model, if it has moved")
    group.add_argument("--subject_dtype", choices=("bf16", "fp16", "fp32"), help="default: fp32, as in stage 3")
    group.add_argument("--subject_device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:N, mps or auto")
    group.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")


def check_flags(args: Namespace, given: set[str]) -> None:
    """Raise `UsageError` for flags that contradict each other. `given` are those of the command."""
    from neuron_signatures.scoring.stage.request import WITHOUT_MODEL

    check_pole_flags(args)
    others = [name for name in args.scorers if name not in SIMULATORS]
    if args.sampling == "sixty" and others:
        what = f"the scorer {others[0]} predicts no activations of sixty examples"
        raise UsageError(what, where="--sampling sixty", next_step=f"Choose among {', '.join(SIMULATORS)}")
    _refuse_idle_flags(set(args.scorers), given)
    asking = [name for name in args.scorers if name not in WITHOUT_MODEL]
    if args.llm != "none":
        if not asking:
            what = f"{', '.join(args.scorers)} asks no language model"
            raise UsageError(what, next_step="Leave --llm away, or choose other --scorers")
        return
    if asking:
        what = f"the scorer {asking[0]} asks a language model"
        raise UsageError(what, where="--llm none", next_step="Give --llm openai:MODEL or --llm local:NAME")
    if idle := sorted(_OF_MODELS & given):
        raise UsageError(f"--{idle[0]} is for a language model", next_step="Give --llm too, or leave it away")


def _refuse_idle_flags(scorers: set[str], given: set[str]) -> None:
    """Raise `UsageError` for a flag of models that no scorer uses."""
    if "embedding_device" in given and "embedding" not in scorers:
        what = "--embedding_device is for the scorer embedding"
        raise UsageError(what, next_step="Leave it away, or add embedding to --scorers")
    if (idle := sorted(_OF_SUBJECT & given)) and not _RUN_THE_MODEL & scorers:
        what = f"--{idle[0]} is for scorers that run the model of the run"
        raise UsageError(what, next_step=f"Leave it away, or choose some of {', '.join(sorted(_RUN_THE_MODEL))}")


def _score(args: Namespace, flags_given: tuple[str, ...]) -> int:
    if tuple(args.scorers) == ("rule",):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads cost more than its small products take
    from neuron_signatures.scoring.stage.stage import opened, score_explanations

    with opened(_request(args, flags_given)) as work:
        if args.dry_run:
            from neuron_signatures.scoring.stage.forecast import forecast

            found = forecast(work)
            emit_json(found.fields()) if args.json else emit("\n".join(found.lines()))
            return ExitCode.OK
        outcome = score_explanations(work, progress_of(quiet=args.quiet))
    emit_json(outcome.fields()) if args.json else emit("\n".join(outcome.lines()))
    if outcome.stopped:
        raise StoppedEarly(outcome.stopped)
    return ExitCode.FAILED if outcome.n_failed else ExitCode.OK


def _request(args: Namespace, flags_given: tuple[str, ...]) -> ScoreRequest:
    from neuron_signatures.llm.budget import Limits
    from neuron_signatures.scoring.design import Design
    from neuron_signatures.scoring.stage.request import ScoreRequest

    design = Design(
        split=args.part, sampling=args.sampling, n_top=args.n_top, n_random=args.n_random, n_uniform=args.n_uniform,
        min_positives=args.min_positives, n_null=args.n_null, n_draws=args.n_draws, seed=args.seed,
    )  # fmt: skip
    label = "-".join(filter(None, ("sixty" if args.sampling == "sixty" else None, args.label)))
    return ScoreRequest(
        run_dir=args.run_dir, scorers=args.scorers, neurons=neuron_request(args), design=design,
        limits=Limits(max_requests=args.max_requests, max_cost=args.max_cost), sets=args.sets, controls=args.controls,
        llm=llm_spec(args), price_file=args.price_file, use_cache=not args.no_cache, limit=args.limit,
        retry_failed=args.retry_failed, label=label, subject=_subject(args), device=args.embedding_device,
        flags_given=flags_given,
    )  # fmt: skip


def _subject(args: Namespace) -> ModelOverrides | None:
    """None if no scorer runs the model."""
    if not _RUN_THE_MODEL & set(args.scorers):
        return None
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides

    return ModelOverrides(
        args.subject_model_name, args.subject_dtype, args.subject_device, trust_remote_code=args.trust_remote_code
    )


class _list_of:  # an argparse type, whose name is in its messages
    """Names with commas between them; of `choices`, if given, in the order of these."""

    def __init__(self, choices: Sequence[str] | None) -> None:
        self._choices = choices

    def __call__(self, text: str) -> tuple[str, ...]:
        names = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
        if not names:
            raise argparse.ArgumentTypeError("names nothing")
        if self._choices is None:
            return tuple(names)
        if wrong := [name for name in names if name not in self._choices]:
            near = get_close_matches(wrong[0], self._choices, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise argparse.ArgumentTypeError(f"{wrong[0][:60]!r} is none of {', '.join(self._choices)}{hint}")
        return tuple(name for name in self._choices if name in names)


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no label: letters, digits, dot, hyphen, underscore, at most 40"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
