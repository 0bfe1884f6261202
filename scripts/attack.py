"""Attacks the program: kills, mutated manifests, hostile files and command lines. Counts outcomes and defects.

    python scripts/attack.py [--seed 0] [--kills 100] [--manifests 50000] [--files 10000] [--command_lines 300]
    python scripts/attack.py --only manifests --case 1234       # one case again, with what was done

Every case has its own seed, made from `--seed`, the kind and its number. The exit code is 1 if there is a defect
(attack_common.py says what that is). Reads: the demo model. Writes: a scratch folder, which `--keep` keeps. Linux.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# Before the libraries are imported, which read these once.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", RAYON_NUM_THREADS="1")

from attack_commands import attack_command_line
from attack_common import Case, Result, Trial
from attack_files import attack_file
from attack_fixtures import import_libraries, prepare
from attack_kills import attack_by_kill
from attack_manifests import attack_manifest
from attack_workers import run_cases


class Kind(NamedTuple):
    attack: Callable[[Trial], None]
    cases: int
    what: str


KINDS = {
    "kills": Kind(attack_by_kill, 100, "kills and signals during a dump and stage 2, then resume and compare"),
    "manifests": Kind(attack_manifest, 50_000, "mutated manifests"),
    "files": Kind(attack_file, 10_000, "damaged, crafted and replaced files and folders of a run"),
    "command_lines": Kind(attack_command_line, 300, "hostile flags, input files and surroundings"),
}


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # removes the scratch folder
    import_libraries()
    parent = args.keep or Path(tempfile.mkdtemp(prefix="attack-", dir=_fast_folder()))
    defects = 0
    try:
        prepare(parent / "shared")
        for kind in args.only:
            numbers = range(getattr(args, kind)) if args.case is None else [args.case]
            cases = [Case(kind, n, args.seed) for n in numbers]
            defects += attack(kind, cases, parent, processes=args.processes, show=args.case is not None)
    finally:
        if args.keep is None:
            shutil.rmtree(parent, ignore_errors=True)
    print(f"{defects} defects")
    return 1 if defects else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="master seed, default 0")
    for flag in ("--kills", "--manifests", "--files", "--command_lines"):
        kind = KINDS[flag.removeprefix("--")]
        parser.add_argument(flag, type=int, default=kind.cases, metavar="N", help=f"{kind.what}; default {kind.cases}")
    parser.add_argument("--only", type=_kinds, default=list(KINDS), metavar="KINDS", help="such as kills,files")
    parser.add_argument("--case", type=int, metavar="N", help="only the case with this number; needs --only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for the runs, which is kept")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one per core")
    return parser


def attack(kind: str, cases: Sequence[Case], parent: Path, *, processes: int, show: bool = False) -> int:
    """Run cases of one kind, print their outcomes and defects, and return the number of defects."""
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    broken: list[Result] = []
    found = run_cases(
        cases, KINDS[kind].attack, shared=parent / "shared", scratch=parent / "scratch" / kind, processes=processes
    )
    for result in found:
        outcomes.update(result.outcomes)
        if result.defects:
            broken.append(result)
            report(result)
        elif show:
            print("did", "; ".join(result.done))
    n = sum(len(r.defects) for r in broken)
    some = ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))
    seconds = time.monotonic() - began
    print(f"{kind:14}{len(cases):>7} cases  {n:>4} defects  {seconds:6.0f} s  {some}", flush=True)
    return n


def report(result: Result) -> None:
    """Print the defects of a case and how to run it again."""
    case = result.case
    for what in result.defects:
        print(f"DEFECT {case.kind} case {case.number} seed {case.seed}: {what}")
    print(f"       did {'; '.join(result.done)[:600]}")
    print(f"       again: --only {case.kind} --case {case.number} --seed {case.master}", flush=True)


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := set(kinds) - KINDS.keys():
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return kinds


def _fast_folder() -> str | None:
    """A folder in memory, where syncing costs nothing; None for the usual folder of temporary files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
