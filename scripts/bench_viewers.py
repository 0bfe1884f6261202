"""Speed and memory of the two viewers relative to minimal programs of the same kind, for docs/performance.md.

    python scripts/bench_viewers.py [--quick] [--only NAME ...]

The run is synthetic: 26 layers of 9,216 neurons, 1,000 prompts of 16 tokens (7.7 GB in sparse files), with tables of
240,000 neurons. The terminal browser runs under a pseudo-terminal and is compared with an empty Textual app. The
explorer runs in a real server with a headless Chromium and is compared with a page that draws one plotly figure.
Linux only; the explorer needs Debian's `chromium`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_common import Bar, at_most, peak_resident, run_benches, spread
from bench_explorer import bench_explorer_memory, bench_explorer_moves, bench_explorer_start
from bench_terminal import Terminal
from viewer_runs import make_viewer_run

EMPTY = "from textual.app import App\nApp().run()"
MOVES = {"token": b"\x1b[B", "layer": b"\x1b[C", "neuron": b"n", "prompt": b"]", "neuron + 100": b"\x1b[6~"}
# Layer overview, top neurons of a token, and every ranked list.
TOUR = (b"o", b"\x1b", b"t", b"\x1b", b"w", *(b"\r", b"\x1b", b"\x1b[B") * 3)
# Where the moves start, so that each of 15 moves by a token, layer or prompt leads to another one.
START = ("--layer", "0", "--neuron", "0", "--ctx_idx", "0")
SIZE = {"columns": 120, "rows": 36}


def bench_start(quick: bool) -> list[Bar]:
    """Seconds from process start to the first paint, and to the first value on the screen."""
    with _run() as run_dir:
        times: dict[str, list[float]] = {"empty app": [], "browser": [], "browser, values": []}
        for n in range(3 if quick else 10):
            with Terminal(["-c", EMPTY], **SIZE) as empty:
                painted = empty.until_painted()
            with Terminal(_browse(run_dir), **SIZE) as ours:
                first, values = ours.until_painted(), ours.until_shows("probe_0000")
            if n:
                for name, seconds in zip(times, (painted, first, values), strict=True):
                    times[name].append(seconds)
    return [
        at_most("browser / empty app, first paint", times, "browser", "empty app", 1.5),
        at_most("browser / empty app, first values (no bar)", times, "browser, values", "empty app", float("inf")),
    ]


def bench_memory(quick: bool) -> list[Bar]:
    """Peak memory after every move and every ranked list, minus that of an empty app."""
    with _run() as run_dir:
        with Terminal(["-c", EMPTY], **SIZE) as empty:
            empty.until_painted()
            empty.settle()
            base = peak_resident(empty.pid)
        with Terminal(_browse(run_dir), **SIZE) as ours:
            ours.until_shows("probe_0000")
            for key in (*MOVES.values(), *TOUR):
                ours.press(key)
            ours.settle(1.0)
            over = (peak_resident(ours.pid) - base) / 1e6
    return [Bar("browser - empty app, peak memory (MB)", over, "<= 250", over <= 250, f"empty app {base / 1e6:.0f} MB")]


def bench_moves(quick: bool) -> list[Bar]:
    """Milliseconds from a key press to the end of its frame."""
    bars = []
    with _run() as run_dir, Terminal([*_browse(run_dir), *START], **SIZE) as ours:
        ours.until_shows("probe_0000")
        for name, key in MOVES.items():
            took = []
            for _ in range(4 if quick else 15):
                seconds, text = ours.press(key)
                assert text.strip(), f"{name} changed nothing"
                took.append(1000 * seconds)
            worst = statistics.quantiles(took, n=10)[-1]
            bars.append(Bar(f"browser, move by one {name} (ms)", statistics.median(took), "< 50",
                            statistics.median(took) < 50, f"90 % within {worst:.0f} ms; {spread(took)}"))  # fmt: skip
    return bars


def _browse(run_dir: Path) -> list[str]:
    return ["-m", "neuron_signatures.poc1_browse_activations", "--run_dir", str(run_dir)]


@contextmanager
def _run() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield make_viewer_run(Path(folder) / "runs" / "big")


def main() -> int:
    return run_benches(__doc__, {
        "start": bench_start, "memory": bench_memory, "moves": bench_moves,
        "explorer_start": bench_explorer_start, "explorer_memory": bench_explorer_memory,
        "explorer_moves": bench_explorer_moves,
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
