"""The flags that several modes of stage 7 share, and the check of which mode has which."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.output import emit, emit_json
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import ExitCode, StoppedEarly, UsageError
from neuron_signatures.runs.skills.banks import SITES, Site

EVERYWHERE = frozenset({"run_dir", "mode", "quiet", "json", "help"})
CHOICE = frozenset({"sources", "sites", "layers", "classes", "seed"})
"""Flags that choose banks and classes."""


def add_shared_flags(parser: Parser) -> None:
    """The run, and which banks and classes a mode is about."""
    parser.add_argument("--run_dir", type=folder, metavar="DIR", help="run folder")
    group = parser.add_argument_group("which units and classes (default: all)")
    group.add_argument("--sources", type=_names, metavar="LIST",
                       help="sae, neurons or names of sets of directions, such as sae,neurons")  # fmt: skip
    group.add_argument("--sites", type=_sites, metavar="LIST", help="of autoencoders and directions: res,att,mlp")
    group.add_argument("--layers", type=_layers, metavar="LIST", help="such as 0,3-5")
    group.add_argument("--classes", type=_names, metavar="LIST", help="such as mathematics,empathy")
    group.add_argument("--top", type=at_least(1), default=20, metavar="N",
                       help="the N most specific units of each class and source (explain, classify, steer); "
                            "default 20")  # fmt: skip
    group.add_argument("--seed", type=at_least(0), default=0, help="of samples, permutations and draws; default 0")


def add_running_flags(parser: Parser) -> None:
    """Flags that mean the same for the model of the run and for a local language model. They replace those of the
    modes."""
    group = parser.add_argument_group("how a model runs (collect, steer; classify: a local language model)")
    group.add_argument("--batch_size", type=at_least(1), metavar="N", help="texts or prompts that run together")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps; default auto")
    group.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"),
                       help="default: as in the run, of a new run bf16; of a language model fp32 on a CPU, else bf16; "
                            "steer always computes in fp32")  # fmt: skip


def add_output_flags(parser: Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--dry_run", action="store_true", help="print what would be done and what it takes; then stop")
    output.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    output.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")


class Told(Protocol):
    """What a command prints: a forecast or an outcome."""

    def fields(self) -> Mapping[str, Any]: ...

    def lines(self) -> Sequence[str]: ...


class Outcome(Told, Protocol):
    """`stopped` says why the command ended early; empty if it is complete."""

    @property
    def stopped(self) -> str: ...

    @property
    def n_failed(self) -> int: ...


def tell(args: argparse.Namespace, found: Told) -> int:
    """Print a forecast, or a finished command."""
    emit_json(found.fields()) if args.json else emit("\n".join(found.lines()))
    return ExitCode.OK


def end(args: argparse.Namespace, outcome: Outcome) -> int:
    """Print an outcome. Returns the exit code, or raises `StoppedEarly`."""
    tell(args, outcome)
    if outcome.stopped:
        raise StoppedEarly(outcome.stopped)
    return ExitCode.FAILED if outcome.n_failed else ExitCode.OK


def require_run(args: argparse.Namespace) -> Path:
    """The run folder. Raises `UsageError` without one."""
    if args.run_dir is None:
        raise UsageError("no --run_dir", next_step="Name the run, such as --run_dir runs/demo")
    run_dir: Path = args.run_dir
    return run_dir


def refuse_idle_flags(mode: str, given: Collection[str], flags: Mapping[str, Collection[str]]) -> None:
    """Raise `UsageError` for the first flag (without its dashes) that has no effect in this mode."""
    for flag in sorted(given):
        if flag not in EVERYWHERE and flag not in flags[mode]:
            modes = " or ".join(f"--mode {m}" for m, names in flags.items() if flag in names)
            raise UsageError(f"has no effect with --mode {mode}", where=f"--{flag}", next_step=f"Use it with {modes}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _sites(text: str) -> tuple[Site, ...]:
    names = _names(text)
    unknown = [name for name in names if name not in SITES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(SITES)}")
    return tuple(site for site in SITES if site in names)


def _layers(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part, re.ASCII)
        if match is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of layers such as 0,3-5")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"{part.strip()!r} ends before it begins")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
