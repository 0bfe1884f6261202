"""Stage 2: rank the neurons of a run, and test the rankings.

Reads:  a run folder (formats 1 and 2); with --mode influence or write_scores also the model that made it.
Writes: RUN/analysis/ (docs/poc2.md):
  peaks       neurons_aggregated.{csv,parquet}, top_neurons.json, analysis_meta.json
  influence   influence_<prompt>_<metric>_<mode>_pos<P>_tok<T>_ref-<R>.{json,csv,parquet}, ..._meta.json
  --validate  validation_<...>.{json,parquet,png}, ..._meta.json
  signatures  signatures.{csv,parquet}, groups.json, signatures_meta.json
  write_scores  write_scores.parquet, write_scores_tokens.parquet, write_scores_meta.json
  contrast    contrast_<A>_vs_<B>_<digest>.{json,csv,parquet}, ..._meta.json

    python -m neuron_signatures.poc2_analyze_run --run_dir runs/demo
    python -m neuron_signatures.poc2_analyze_run --run_dir runs/demo --mode influence --prompt_id seed_prompt \\
        --target_mode next_token --target_token " Austin" --influence_metric all --validate
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.analysis.mode_flags import check_flags
from neuron_signatures.cli.arguments import at_least, folder, number, number_or_all, parse_ctx, share
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides, prepare_for_determinism
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.cli.sharding import add_shard_flags, check_shard_flags, run_on_engine
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import ExitCode

if TYPE_CHECKING:
    from neuron_signatures.analysis.attribution.request import InfluenceRequest
    from neuron_signatures.analysis.selection import SelectionConfig
    from neuron_signatures.runs.run import Run


_MODULE = "neuron_signatures.poc2_analyze_run"
_SPARSITY = "--relationship_max_sparsity"
_REFERENCE = "--reference, one for every metric and for ablations: mean, zero, prompt:ID, run:DIR or records"


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    given = parser.given(argv)
    check_flags(args.mode, given)
    check_shard_flags(args, given)
    setup_logging(quiet=args.quiet)
    if args.engine is not None:
        return run_on_engine(_MODULE, parser, argv, args, prepare=None)
    if args.deterministic:
        prepare_for_determinism()
    with stop_on_signals(resume="run the same command again"):
        from neuron_signatures.runs.run import Run
        from neuron_signatures.runs.units import need_neurons

        with Run.open(args.run_dir, check="sha256") as run:
            need_neurons(run, "stage 2")
            if args.mode == "influence" or (args.mode == "peaks" and args.write_scores):
                run.prompt(args.prompt_id)  # before torch is imported, which takes seconds
            _MODES[args.mode](run, args)
    return ExitCode.OK


def make_parser() -> Parser:
    parser = Parser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.renamed = dict.fromkeys(("--baseline", "--ablate_with", "--act_grad_source"), _REFERENCE)
    parser.add_argument("--run_dir", type=folder, required=True, metavar="DIR", help="run folder")
    parser.add_argument("--mode", choices=tuple(_MODES), default="peaks", help="default: peaks")
    _add_selection_flags(parser)
    _add_token_flags(parser)
    _add_influence_flags(parser)
    _add_validation_flags(parser)
    add_shard_flags(parser)
    _add_signature_flags(parser)
    _add_contrast_flags(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")
    return parser


def _add_selection_flags(parser: Parser) -> None:
    group = parser.add_argument_group("which neurons are selected (peaks, influence, contrast)")
    group.add_argument("--top_k", type=at_least(1), metavar="K", help="the first K; default 200 without a threshold")
    group.add_argument(
        "--cumulative_threshold", type=share, metavar="SHARE", help="the fewest that hold this share of the total"
    )
    group.add_argument("--per_layer_k", type=at_least(1), metavar="K", help="at most K of each layer")
    group.add_argument("--rank_by", metavar="COLUMN",
                       help="peaks: default mean_peak_abs; contrast: d (default), auroc or difference")  # fmt: skip


def _add_token_flags(parser: Parser) -> None:
    group = parser.add_argument_group("which tokens are counted (peaks, signatures, contrast)")
    group.add_argument("--first_pos", type=at_least(0), metavar="N", help="only positions from N on; default 1")
    group.add_argument("--include_bos", action="store_true", help="count the first position too, also if it is a BOS")
    group.add_argument("--functional_tokens_json", type=folder, metavar="FILE", help="use instead of the default list")
    group.add_argument("--act_threshold", type=number, default=1.0, metavar="A", help="for frac_act_above; default 1.0")


def _add_influence_flags(parser: Parser) -> None:
    group = parser.add_argument_group("influence")
    group.add_argument("--prompt_id", default="0", metavar="ID", help="id or index in the run; default the first")
    modes = ("top1_logit", "last_token", "next_token")
    group.add_argument("--target_mode", choices=modes, default="top1_logit", help="default: top1_logit")
    group.add_argument("--target_token", metavar="TOKEN", help='exactly one token, such as " Austin"')
    group.add_argument("--target_token_id", type=int, metavar="N")
    group.add_argument("--foil_token", metavar="TOKEN", help="explain the difference from this token")
    group.add_argument("--foil_token_id", type=int, metavar="N")
    group.add_argument("--target_pos", type=int, default=-1, metavar="POS", help="default -1, the last position")
    group.add_argument(
        "--ctx_idx", type=parse_ctx, metavar="POS", help="position to score, or all but the first; default the target's"
    )
    functions = ("pre_cap_logit", "logit", "logprob")
    group.add_argument("--function", choices=functions, default="pre_cap_logit", help="default: pre_cap_logit")
    group.add_argument("--influence_metric", default="dla", metavar="LIST",
                       help="all, or a list of dla,dla_pre_ln2_post,act_grad,ig,relp,prob_increase,"
                            "prob_increase_query,ablation")  # fmt: skip
    group.add_argument("--reference", metavar="REF",
                       help="what activations are compared with, for every metric and for ablations: mean, zero, "
                            "prompt:ID, run:DIR or records (the corpus of stage 4); default mean, zero in a run of few "
                            "tokens")  # fmt: skip
    group.add_argument(
        "--min_mean_tokens", type=at_least(1), default=64, metavar="N", help="fewest tokens of a mean; default 64"
    )
    group.add_argument("--ig_steps", type=at_least(1), default=50, metavar="N", help="first number, default 50")
    group.add_argument("--ig_max_steps", type=at_least(1), default=1350, metavar="N",
                       help="steps are tripled up to N while ig does not sum up; default 1350")  # fmt: skip
    group.add_argument(
        "--ig_path", choices=("joint", "layer"), default="joint", help="all layers together, or one at a time"
    )
    group.add_argument("--value_neurons", type=at_least(1), default=100, metavar="N",
                       help="prob_increase_query: the first N of prob_increase; default 100")  # fmt: skip
    group.add_argument("--ablation_batch", type=at_least(1), default=64, metavar="N", help="copies per forward pass")
    group.add_argument(
        "--layers",
        metavar="LIST",
        help="for ablation, ig, prob_increase and --mode write_scores, such as 0,3,5-8; default all",
    )
    group.add_argument("--top_from", metavar="METRIC:K", help="ablate only the first K neurons of this metric")
    group.add_argument("--write_scores", type=at_least(1), default=0, metavar="N",
                       help="also write the N tokens that each selected neuron promotes and suppresses; with --mode "
                            "write_scores N tokens of every neuron, default 10")  # fmt: skip
    group.add_argument("--explicit_tokens", metavar="LIST", help='with --write_scores, such as " Austin| Texas"')
    add_rerun_flags(parser, dtype_help="default: the run's; fp32 for ig, ablation and --validate")


def _add_validation_flags(parser: Parser) -> None:
    group = parser.add_argument_group("validation (with --mode influence)")
    group.add_argument("--validate", action="store_true", help="test the rankings by ablation")
    group.add_argument("--sample", type=number_or_all, default=2000, metavar="N",
                       help="neurons that are ablated alone, at one position each, to estimate the correlations; all "
                            "for every neuron; default 2000")  # fmt: skip
    group.add_argument(
        "--n_random",
        type=at_least(1000),
        default=1000,
        metavar="N",
        help="most random sets of a comparison, default 1000",
    )
    group.add_argument("--min_effect", type=number, default=1.0, metavar="X",
                       help="score sets only if m(M) - m(empty) is X logits or nats or more; default 1")  # fmt: skip
    group.add_argument("--rank_signed", action="store_true", help="build sets by score instead of absolute score")
    group.add_argument("--seed", type=at_least(0), default=0, help="for random sets and shuffled tokens; default 0")


def _add_signature_flags(parser: Parser) -> None:
    group = parser.add_argument_group("signatures")
    group.add_argument("--seed_prompt", metavar="ID", help="default: seed_prompt if there is one, else the first")
    group.add_argument("--concepts_json", type=folder, metavar="FILE", help="JSON list of words")
    group.add_argument(
        "--active_above", type=number, default=0.0, metavar="A", help="smallest peak of an active pole; default 0"
    )
    group.add_argument(
        "--active_share",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="... as a share of its largest peak; default 0.5",
    )
    for flag, default, text in (
        ("--min_concept_prompts", 2, "fewest prompts of a concept that is considered"),
        ("--min_shared_tokens", 2, "fewest tokens shared with the seed prompt for a cosine"),
        ("--target_window", 5, "largest distance from a functional token to its target"),
        ("--min_active", 4, "fewest different texts with a peak of a classified pole"),
        ("--weak_pole", 0.1, "smallest peak of a classified pole, as a share of the other pole's"),
        ("--max_q", 0.05, "largest q of a class, of a say_x name and of a contrast; 1 for no test"),
        ("--n_null", 20, "draws of each null"),
        ("--semantic_min_consistency", 0.80, ""), ("--semantic_max_distinct", 1, ""),
        ("--semantic_max_depth", 0.12, ""), ("--semantic_min_conf", 0.50, ""), ("--say_min_functional", 0.50, ""),
        ("--say_min_conf", 0.90, ""), ("--say_min_depth", 0.27, ""), (_SPARSITY, 0.45, ""),
    ):  # fmt: skip
        what = f"{text}; default {default}" if text else f"threshold of a class; default {default}"
        # sparsity is not a share: it exceeds 1 where the mean is negative
        kind = at_least(int(flag == "--n_null")) if isinstance(default, int) else number if flag == _SPARSITY else share
        group.add_argument(flag, type=kind, default=default, metavar="X", help=what)


def _add_contrast_flags(parser: Parser) -> None:
    group = parser.add_argument_group("contrast")
    group.add_argument("--a", metavar="SIDE", help="PROMPTS or PROMPTS@POSITIONS, such as 'capital_*@token: is'")
    group.add_argument("--b", metavar="SIDE", help="the same for the other side; default: what A leaves")
    group.add_argument("--reduce", choices=("mean", "max", "last"), default="mean",
                       help="one value of the positions of a prompt; default mean")  # fmt: skip
    group.add_argument("--design", choices=("auto", "paired", "unpaired"), default="auto",
                       help="within prompts or between them; default: paired if prompts are on both sides")  # fmt: skip


def _selection(args: Namespace) -> SelectionConfig:
    from neuron_signatures.analysis.selection import DEFAULT_TOP_K, SelectionConfig

    limited = args.cumulative_threshold is not None or args.per_layer_k is not None
    top_k = DEFAULT_TOP_K if args.top_k is None and not limited else args.top_k
    return SelectionConfig(args.per_layer_k, args.cumulative_threshold, top_k)


def _peaks(run: Run, args: Namespace) -> None:
    from neuron_signatures.analysis.peaks.analyze import PeaksConfig, analyze_peaks
    from neuron_signatures.analysis.peaks.report import peaks_lines
    from neuron_signatures.analysis.peaks.writing import DEFAULT_RANK_BY, write_peaks
    from neuron_signatures.analysis.tokens.functional import load_functional_tokens
    from neuron_signatures.runs.plain import strict
    from neuron_signatures.runs.results import open_results

    functional = load_functional_tokens(args.functional_tokens_json)
    write_scores = None
    if args.write_scores:  # imports torch
        from neuron_signatures.analysis.attribution.stage import peak_token_scorer

        write_scores = peak_token_scorer(run, _influence_request(run, args)).score
    config = PeaksConfig(functional, args.first_pos, args.include_bos, args.act_threshold)
    selection = _selection(args)
    with open_results(run) as writer:
        result = analyze_peaks(run, config, writer=writer, progress=progress_of(quiet=args.quiet))
        rank_by = args.rank_by or DEFAULT_RANK_BY
        written = write_peaks(writer, result, selection, rank_by=rank_by, write_scores=write_scores)
    emit_json(strict(written.record)) if args.json else emit("\n".join(peaks_lines(run.path, written)))


def _influence(run: Run, args: Namespace) -> None:
    from neuron_signatures.analysis.attribution.report import influence_lines, influence_summary
    from neuron_signatures.analysis.attribution.stage import measure_shard, run_influence

    request, progress = _influence_request(run, args), progress_of(quiet=args.quiet)
    if args.shard is not None:
        part = measure_shard(run, request, args.shard, progress=progress)
        emit_json(part.fields()) if args.json else emit(part.line())
        return
    done = run_influence(run, request, progress=progress)
    emit_json(influence_summary(run.path, done)) if args.json else emit("\n".join(influence_lines(run.path, done)))


def _influence_request(run: Run, args: Namespace) -> InfluenceRequest:
    from neuron_signatures.analysis.attribution.influence import InfluenceSettings
    from neuron_signatures.analysis.attribution.request import InfluenceRequest, parse_metrics
    from neuron_signatures.analysis.attribution.targets import TargetRequest
    from neuron_signatures.analysis.validation.truth import ValidationConfig
    from neuron_signatures.runs.layer_numbers import parse_layers

    layers = None if args.layers is None else tuple(parse_layers(args.layers, run.manifest.n_layers))
    validation = ValidationConfig(
        args.sample, args.n_random, args.seed, args.rank_signed, args.ablation_batch, args.min_effect
    )
    return InfluenceRequest(
        prompt=args.prompt_id,
        target=TargetRequest(
            args.target_mode, args.target_pos, args.target_token, args.target_token_id, args.foil_token,
            args.foil_token_id, args.function,
        ),
        metrics=parse_metrics(args.influence_metric),
        settings=InfluenceSettings(
            args.ctx_idx, args.ig_steps, args.ig_max_steps, args.ig_path, args.ablation_batch, layers, None,
            args.value_neurons,
        ),
        reference=args.reference,
        min_mean_tokens=args.min_mean_tokens,
        selection=_selection(args),
        overrides=model_overrides(args),
        top_from=args.top_from,
        write_scores=args.write_scores,
        explicit=args.explicit_tokens,
        validation=validation if args.validate else None,
        merge=args.merge,
    )  # fmt: skip


def _signatures(run: Run, args: Namespace) -> None:
    from neuron_signatures.analysis.signatures.analyze import SignatureConfig, analyze_signatures
    from neuron_signatures.analysis.signatures.classes import ClassRules
    from neuron_signatures.analysis.signatures.labels import load_concepts
    from neuron_signatures.analysis.signatures.report import signatures_lines
    from neuron_signatures.analysis.signatures.writing import write_signatures
    from neuron_signatures.analysis.tokens.functional import load_functional_tokens
    from neuron_signatures.runs.plain import strict
    from neuron_signatures.runs.results import open_results

    rules = ClassRules(**{name: getattr(args, name) for name in ClassRules.__dataclass_fields__})
    has_seed = any(p.probe_id == "seed_prompt" for p in run.prompts)
    config = SignatureConfig(
        functional=load_functional_tokens(args.functional_tokens_json),
        seed_prompt=args.seed_prompt or ("seed_prompt" if has_seed else 0),
        concepts=tuple(load_concepts(args.concepts_json)) if args.concepts_json else None,
        first_pos=args.first_pos,
        include_bos=args.include_bos,
        active_above=args.active_above,
        active_share=args.active_share,
        min_concept_prompts=args.min_concept_prompts,
        min_shared_tokens=args.min_shared_tokens,
        target_window=args.target_window,
        n_null=args.n_null,
        null_seed=args.seed,
        rules=rules,
    )
    result = analyze_signatures(run, config)
    with open_results(run) as writer:
        record = write_signatures(writer, result)
    emit_json(strict(record)) if args.json else emit("\n".join(signatures_lines(run.path, result, record)))


def _write_scores(run: Run, args: Namespace) -> None:
    from neuron_signatures.analysis.writes.analyze import DEFAULT_TOP, WritesConfig, analyze_writes, checked_model
    from neuron_signatures.analysis.writes.report import writes_lines, writes_summary
    from neuron_signatures.analysis.writes.writing import write_writes
    from neuron_signatures.runs.layer_numbers import parse_layers
    from neuron_signatures.runs.results import open_results

    layers = None if args.layers is None else tuple(parse_layers(args.layers, run.manifest.n_layers))
    checked = checked_model(run, model_overrides(args))
    config = WritesConfig(args.write_scores or DEFAULT_TOP, layers)
    with open_results(run) as writer:
        result = analyze_writes(checked, config, writer=writer, progress=progress_of(quiet=args.quiet))
        record = write_writes(writer, result)
    if args.json:
        emit_json(writes_summary(run.path, result, record))
    else:
        emit("\n".join(writes_lines(run.path, result, record)))


def _contrast(run: Run, args: Namespace) -> None:
    from neuron_signatures.analysis.contrast.analyze import ContrastConfig, analyze_contrast, parse_rank_by
    from neuron_signatures.analysis.contrast.report import contrast_lines
    from neuron_signatures.analysis.contrast.writing import write_contrast
    from neuron_signatures.analysis.signatures.names import signature_names
    from neuron_signatures.runs.plain import strict
    from neuron_signatures.runs.results import open_results

    config = ContrastConfig(
        args.a, args.b, args.reduce, args.design, args.max_q, args.n_null, args.seed,
        parse_rank_by(args.rank_by), args.first_pos, args.include_bos,
    )  # fmt: skip
    selection = _selection(args)
    with open_results(run) as writer:
        result = analyze_contrast(run, config, progress=progress_of(quiet=args.quiet))
        written = write_contrast(writer, result, selection)
    record = {"result": written.stem, **written.record}
    emit_json(strict(record)) if args.json else emit("\n".join(contrast_lines(run, written, signature_names(run))))


_MODES = {
    "peaks": _peaks, "influence": _influence, "signatures": _signatures, "write_scores": _write_scores,
    "contrast": _contrast,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
