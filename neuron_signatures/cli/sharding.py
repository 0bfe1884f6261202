"""The flags of a stage that works in shards: one shard, the merge of all, or all of it on an engine (docs/scale.md)."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Sequence

from neuron_signatures.cli.arguments import at_least
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.sharding.shard import Shard, parse_shard

_ENGINE_FLAGS = {"engine", "ray_address", "n_shards"}
_ON_MANY_GPUS = "An engine gives each shard one GPU"


def add_shard_flags(parser: Parser) -> None:
    group = parser.add_argument_group("in shards, on several GPUs or machines (docs/scale.md)")
    group.add_argument("--shard", type=_shard, metavar="I/N", help="only shard I of N (from 1)")
    group.add_argument("--merge", action="store_true", help="join the shards that the run holds")
    group.add_argument("--engine", choices=("ray",),
                       help="run all shards as tasks of Ray (requirements-ray.txt), then join them")  # fmt: skip
    group.add_argument("--ray_address", metavar="ADDRESS",
                       help="auto (the Ray cluster that runs on this machine) or HOST:PORT; default: that cluster, "
                            "else this machine alone")  # fmt: skip
    group.add_argument("--n_shards", type=at_least(1), metavar="N",
                       help="shards of --engine; default one per GPU of the cluster, or CPU")  # fmt: skip


def check_shard_flags(args: Namespace, given: set[str]) -> None:
    """Raise `UsageError` for flags that contradict each other. `given` are those of the command line."""
    if args.merge and args.shard is not None:
        raise UsageError("--shard computes one shard and --merge joins them: give one of them")
    if args.engine is None:
        idle = sorted({"ray_address", "n_shards"} & given)
        if idle:
            raise UsageError(f"--{idle[0]} is for an engine", next_step="Give --engine ray too")
        return
    for name in ("shard", "merge", "index_only"):
        if name in given:
            raise UsageError(f"--engine runs all shards and joins them: leave --{name} away")
    if args.ray_address is not None and "://" in args.ray_address:
        what = "this is no address of a cluster but of Ray Client"
        raise UsageError(what, where=f"--ray_address {args.ray_address}", next_step="Give auto or HOST:PORT")
    if getattr(args, "device", "").startswith("cuda:"):
        raise UsageError(_ON_MANY_GPUS, where=f"--device {args.device}", next_step="Give --device cuda")
    if getattr(args, "device_map", None) is not None:
        raise UsageError(_ON_MANY_GPUS, where=f"--device_map {args.device_map}", next_step="Leave it away")


def run_on_engine(
    stage: str, parser: Parser, argv: Sequence[str], args: Namespace, *, prepare: Sequence[str] | None
) -> int:
    """Carry out the command `argv` of a stage with `--engine`, and return its exit code.

    `stage` is the module, whose `main` computes a shard with `--shard I/N` and joins all with `--merge`. With the flags
    `prepare` it does what shards would wait for; None if there is no such work, and then `--overwrite` is refused.
    Raises the errors of `run_on_ray`.
    """
    from neuron_signatures.cli.ray_engine import RayRequest, run_on_ray

    again = {"resume", "overwrite"}
    if prepare is None and getattr(args, "overwrite", False):
        raise UsageError("--overwrite is not for --engine", next_step="Give it once without --engine, or leave it away")
    common = parser.without(argv, _ENGINE_FLAGS)
    return run_on_ray(RayRequest(
        stage=stage,
        flags=tuple(parser.without(common, {*again, "json"})),
        prepare=None if prepare is None else (*parser.without(common, {"json"}), *prepare),
        merge=(*parser.without(common, again), "--merge"),
        address=args.ray_address, n_shards=args.n_shards, quiet=getattr(args, "quiet", False),
        with_gpu=getattr(args, "device", "cpu") not in ("cpu", "mps"),
        again=f"run the same command again{' without --overwrite' if getattr(args, 'overwrite', False) else ''}",
    ))  # fmt: skip


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
