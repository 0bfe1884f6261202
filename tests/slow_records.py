"""Stage 4 as a program whose shards take longer on Ray, so that they can be killed and stopped in the middle."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from neuron_signatures import poc4_extract_records
from neuron_signatures.cli.command import command
from neuron_signatures.cli.sharding import run_on_engine


def main(argv: Sequence[str] | None = None) -> int:
    from record_stage import extract, extract_slowly

    args = list(argv or ())
    return extract_slowly(args, 0.03) if "--shard" in args else extract(*args)


@command
def on_engine(argv: Sequence[str] | None = None) -> int:
    parser, args = poc4_extract_records.make_parser(), list(argv or ())
    return run_on_engine("slow_records", parser, args, parser.parse_args(args), prepare=["--index_only"])


if __name__ == "__main__":
    sys.exit(on_engine(sys.argv[1:]))
