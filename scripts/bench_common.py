"""Shared code of the benchmarks. A bar limits a ratio: the median over alternating rounds in one process."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch


class Bar(NamedTuple):
    """One line of a benchmark: the ratio, the bar, and whether the bar is met."""

    name: str
    ratio: float
    bar: str
    holds: bool
    detail: str


Bench = Callable[[bool], list[Bar]]


def run_benches(
    description: str | None, benches: Mapping[str, Bench], *, real: Mapping[str, Bench] | None = None
) -> int:
    """Run the selected benchmarks and print one line per bar; returns 1 if a bar is missed.

    Those of `real` need a real model, and run only with --real or if they are named.
    """
    every = {**benches, **(real or {})}
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller inputs and fewer rounds")
    parser.add_argument("--only", nargs="*", choices=list(every))
    if real:
        parser.add_argument("--real", action="store_true", help="also the benchmarks of the real model")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}", flush=True)
    held = True
    selected = every if real and args.real else benches
    for name in list(selected) if args.only is None else args.only:
        for bar in every[name](args.quick):
            held &= bar.holds
            print(json.dumps(bar._asdict()) if args.json else _line(bar), flush=True)
    return 0 if held else 1


def alternate(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one warm-up round."""
    times: dict[str, list[float]] = {k: [] for k in actions}
    for n in range(rounds + 1):
        for name, action in actions.items():
            seconds = timed(action)
            if n:
                times[name].append(seconds)
    return times


def at_most(name: str, times: Mapping[str, list[float]], ours: str, baseline: str, bar: float, note: str = "") -> Bar:
    """A bar on the time of `ours` relative to `baseline`."""
    rounds = [a / b for a, b in zip(times[ours], times[baseline], strict=True)]
    ratio = statistics.median(rounds)
    seconds = " and ".join(f"{k} {statistics.median(times[k]):.3g} s" for k in (ours, baseline))
    return Bar(name, ratio, f"<= {bar}", ratio <= bar, f"{seconds}{note}; {spread(rounds)}")


def spread(rounds: list[float]) -> str:
    return f"{len(rounds)} rounds from {min(rounds):.2f} to {max(rounds):.2f}"


def timed(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(code: str, *argv: str) -> int:
    """Peak resident bytes of a Python process that runs `code`; Linux only.

    Not `ru_maxrss`, which in a child process starts at the peak of the parent.
    """
    tail = "\nprint(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    done = subprocess.run([sys.executable, "-c", code + tail, *argv], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) * 1024


def peak_resident(pid: int) -> int:
    """Peak resident bytes of a running process; Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _line(bar: Bar) -> str:
    return f"{'ok  ' if bar.holds else 'MISS'} {bar.name:46} {bar.ratio:6.2f}  (bar {bar.bar})  {bar.detail}"
