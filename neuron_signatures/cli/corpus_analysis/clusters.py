"""`poc4_extract_records clusters`: neurons in groups, how stable these are, and what they do."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least
from neuron_signatures.cli.corpus_analysis.shared import (
    add_neuron_flags,
    add_output_flags,
    check_neuron_flags,
    make_base_parser,
    neuron_choice,
    print_summary,
    running,
)
from neuron_signatures.cli.model_flags import add_rerun_flags, model_overrides
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.progress import progress_of
from neuron_signatures.runs.corpus_analysis.folder import BASES, METHODS
from neuron_signatures.runs.errors import UsageError

if TYPE_CHECKING:
    from neuron_signatures.corpus_analysis.clusters.request import ClustersRequest


def main(argv: Sequence[str]) -> int:
    """Group neurons by activations, output weights or strongest windows; stability and effect of each group."""
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args, parser.given(argv))
    with running(args):
        request = _request(args)
        if args.dry_run:
            from neuron_signatures.corpus_analysis.clusters.forecast import forecast

            return print_summary(forecast(request), as_json=args.json)
        from neuron_signatures.corpus_analysis.clusters.stage import find_clusters

        return print_summary(find_clusters(request, progress_of(quiet=args.quiet)), as_json=args.json)


def make_parser() -> Parser:
    parser = make_base_parser("clusters", main.__doc__)
    add_neuron_flags(parser, default="those whose activations stage 4 stored, else all")
    group = parser.add_argument_group("how neurons are grouped")
    group.add_argument("--by", type=_names(BASES), default=("activations",), metavar="LIST",
                       help="activations, weights (output directions) or exemplars (contexts of the strongest "
                            "windows), or several; default activations")  # fmt: skip
    group.add_argument("--method", type=_names(METHODS), default=("kmeans",), metavar="LIST",
                       help="kmeans, hdbscan or both; default kmeans")  # fmt: skip
    group.add_argument("--k", type=_sizes, default=(), metavar="LIST",
                       help="clusters of k-means, such as 20 or 20,50; default the one of 10, 20, 40 and 80 with the "
                            "largest silhouette")  # fmt: skip
    group.add_argument("--min_cluster_size", type=at_least(2), default=5, metavar="N", help="of HDBSCAN; default 5")
    group.add_argument("--embedding", choices=("tokens", "minilm"), default="tokens",
                       help="of contexts, for --by exemplars: tokens needs no model, minilm embeds the text; default "
                            "tokens")  # fmt: skip
    group.add_argument("--sample_tokens", type=at_least(100), default=16384, metavar="N",
                       help="tokens of the part explain that activations are taken at; default 16384")  # fmt: skip
    tokens = parser.add_argument_group("the tokens of a cluster")
    tokens.add_argument("--n_tokens", type=at_least(1), default=10, metavar="N", help="default 10")
    tokens.add_argument("--min_count", type=at_least(1), default=5, metavar="N",
                        help="occurrences in the sample that a token needs; default 5")  # fmt: skip
    checks = parser.add_argument_group("checks")
    checks.add_argument("--n_bootstraps", type=at_least(2), default=50, metavar="N",
                        help="bootstraps for the adjusted Rand index; default 50")  # fmt: skip
    checks.add_argument("--n_shuffles", type=at_least(0), default=100, metavar="N",
                        help="shuffled data for the silhouette; default 100")  # fmt: skip
    effect = parser.add_argument_group("the effect of ablating a cluster (part select)")
    effect.add_argument("--no_effect", action="store_true", help="leave it out")
    effect.add_argument("--effect_windows", type=at_least(1), default=10, metavar="N",
                        help="windows in which a cluster is most active; default 10")  # fmt: skip
    effect.add_argument("--effect_span", type=at_least(1), default=4, metavar="N",
                        help="positions that are ablated and read, from the most active one on; default 4")  # fmt: skip
    effect.add_argument("--n_random", type=at_least(1), default=20, metavar="N",
                        help="random sets of as many neurons of the same layers; default 20")  # fmt: skip
    add_rerun_flags(parser, dtype_help="precision of the model; default fp32 with effects, else that of the records")
    running = parser.add_argument_group("how it runs")
    running.add_argument("--batch_size", type=at_least(1), metavar="N", help="windows that run together")
    running.add_argument("--seed", type=at_least(0), default=0, help="of all samples and draws; default 0")
    add_output_flags(parser)
    return parser


def check_flags(args: Namespace, given: set[str]) -> None:
    """Raise `UsageError` for flags that do not go together. `given` are those of the command."""
    check_neuron_flags(args)
    idle = sorted({"effect_windows", "effect_span", "n_random"} & given) if args.no_effect else []
    if idle:
        raise UsageError("has no effect with --no_effect", where=f"--{idle[0]}")
    if args.k and "kmeans" not in args.method:
        raise UsageError("is the number of clusters of k-means", where="--k", next_step="Give --method kmeans")
    if "embedding" in given and "exemplars" not in args.by:
        raise UsageError("is for --by exemplars", where="--embedding", next_step="Give --by exemplars")
    if "min_cluster_size" in given and "hdbscan" not in args.method:
        raise UsageError("is for HDBSCAN", where="--min_cluster_size", next_step="Give --method hdbscan")


def _request(args: Namespace) -> ClustersRequest:
    from neuron_signatures.corpus_analysis.clusters.request import Checks, ClustersRequest, EffectSettings, Grouping

    effect = None if args.no_effect else EffectSettings(args.effect_windows, args.effect_span, args.n_random)
    return ClustersRequest(
        run_dir=args.run_dir, choice=neuron_choice(args),
        grouping=Grouping(args.by, args.method, args.k, args.min_cluster_size, args.embedding),
        checks=Checks(args.n_bootstraps, args.n_shuffles), effect=effect, sample_tokens=args.sample_tokens,
        min_count=args.min_count, n_tokens=args.n_tokens, seed=args.seed, overrides=model_overrides(args),
        batch_size=args.batch_size,
    )  # fmt: skip


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """An argparse type: some of these names, in this order."""

    def parse(text: str) -> tuple[str, ...]:
        names = [name.strip() for name in text.split(",")]
        if any(name not in known for name in names):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(known)}")
        return tuple(name for name in known if name in names)

    return parse


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({at_least(2)(part.strip()) for part in text.split(",")}))
