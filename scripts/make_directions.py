"""Make a directions file: random, principal or independent components of a site, or the rows of SAEs.

    python scripts/make_directions.py --model_name demo --kind pca --site res --n 64 --corpus demo --out pca.safetensors
    python scripts/make_directions.py --model_name demo --kind sae --saes demo --site res --out sae.safetensors

Stage 4 takes the file as --directions (docs/poc4.md). Random directions are uniform on the sphere; all but those of
SAEs have norm 1, and their activations have mean 0 over the sample.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.command import command
from neuron_signatures.cli.model_flags import add_model_flags, model_spec, prepare_for_determinism
from neuron_signatures.cli.output import emit, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from neuron_signatures.records.directions.make import MadeFile

_OF_SAE = {"saes", "rows"}
_OF_SAMPLE = {"n", "corpus", "max_tokens", "seed", "text_column", "parts"}


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    _check_flags(args, parser.given(argv))
    setup_logging(quiet=args.quiet)
    if args.deterministic:
        prepare_for_determinism()
    made = _make(args)
    for note in made.notes:
        emit(f"note       {note}")
    emit(f"directions {made.n:,} each of {', '.join(made.keys)}")
    emit(f"written    {made.path} ({made.sha256[:12]})")
    return ExitCode.OK


def make_parser() -> Parser:
    parser = Parser(prog="python scripts/make_directions.py", description=__doc__)
    parser.add_argument("--kind", choices=("random", "pca", "ica", "sae"), required=True)
    parser.add_argument("--out", type=folder, required=True, metavar="FILE", help="the file, which is replaced")
    parser.add_argument(
        "--site", choices=("res", "att", "mlp", "neuron"), nargs="+", default=["res"], help="default res"
    )
    parser.add_argument("--layers", type=at_least(0), nargs="+", metavar="N", help="default all")
    parser.add_argument("--name", metavar="NAME", help="the source of the units; default the kind, sae_enc or sae_dec")
    sample = parser.add_argument_group("random, pca, ica")
    sample.add_argument("--n", type=at_least(1), default=64, help="directions of each layer; default 64")
    sample.add_argument("--corpus", metavar="WHAT", help="demo, local, or a file or folder, as of stage 4")
    sample.add_argument("--text_column", default="text", metavar="NAME", help="of a table; default text")
    sample.add_argument("--max_tokens", type=at_least(2), default=20_000, metavar="N",
                        help="positions of the sample, drawn from documents of `explain`; default 20,000")  # fmt: skip
    sample.add_argument("--sequence_length", type=at_least(2), default=128, metavar="N", help="default 128")
    sample.add_argument("--skip_first", type=at_least(1), default=1, metavar="N",
                        help="positions at the start of each window that do not count; default 1")  # fmt: skip
    sample.add_argument("--bos", choices=("prepend", "tokenizer", "off"), help="default: as the tokenizer")
    sample.add_argument("--seed", type=at_least(0), default=0, help="of the parts, the sample and the fit; default 0")
    saes = parser.add_argument_group("sae")
    saes.add_argument("--saes", metavar="WHAT", help="demo, or a folder of SAEs as sae-lens writes them")
    saes.add_argument("--rows", choices=("encoder", "decoder"), default="encoder",
                      help="encoder: the features themselves. decoder: projections on the decoder's rows, which are "
                           "not features. Default encoder")  # fmt: skip
    add_model_flags(parser)
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    return parser


def _check_flags(args: Namespace, given: set[str]) -> None:
    if args.kind == "sae" and args.saes is None:
        raise UsageError("no SAEs: give --saes demo or a folder", where="--kind sae")
    if args.kind != "sae" and args.corpus is None:
        raise UsageError("no corpus: give --corpus demo, local or a file", where=f"--kind {args.kind}")
    idle = sorted(given & (_OF_SAMPLE if args.kind == "sae" else _OF_SAE))
    if idle:
        raise UsageError(f"--{idle[0]} is not for --kind {args.kind}")


def _make(args: Namespace) -> MadeFile:
    from neuron_signatures.records.corpus.settings import MAX_DOCUMENT, CorpusSettings
    from neuron_signatures.records.corpus.sources.choose import corpus_source
    from neuron_signatures.records.directions.make import FitRequest, make_fitted

    layers = None if args.layers is None else tuple(args.layers)
    sites = tuple(dict.fromkeys(args.site))
    source = corpus_source(args.corpus, text_column=args.text_column, max_document=MAX_DOCUMENT, seed=args.seed)
    settings = CorpusSettings(sequence_length=args.sequence_length, skip_first=args.skip_first, seed=args.seed)
    request = FitRequest(
        model_spec(args), args.kind, sites, layers, args.n, source, settings, args.max_tokens, args.seed, args.bos,
        args.name,
    )  # fmt: skip
    return make_fitted(request, args.out)


if __name__ == "__main__":
    sys.exit(main())
