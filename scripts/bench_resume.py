"""How long a finished set of explanations of 10,000 neurons takes to be resumed: start, find nothing to do, end.

    python scripts/bench_resume.py

The bar is 5 seconds. A synthetic run is made in a temporary folder and explained by a server on loopback; then the same
command is timed as a whole process, with the start of Python. The server must not be asked again.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from misbehaving_server import Act, Asked, MisbehavingServer, answer  # noqa: E402

BAR_SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=13_500, help="of them about three quarters are active")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, MisbehavingServer(fresh_answer) as server:
        run_dir = make_run(Path(folder) / "run", args.neurons)
        print(f"{args.neurons:,} neurons, pole +: explained in {timed(run_dir, server.base_url):.1f} s")
        n_requests = len(server.requests)
        log = (run_dir / "explanations/bench.jsonl").read_bytes()
        seconds = [timed(run_dir, server.base_url) for _ in range(args.rounds)]
        assert len(server.requests) == n_requests, "the server was asked again"
    n_entries, n_bytes = log.count(b"\n"), len(log)
    print(f"{n_entries:,} explanations, log of {n_bytes / 1e6:.1f} MB; the other neurons are silent")
    median, least, most = statistics.median(seconds), min(seconds), max(seconds)
    print(f"resumed in {median:.2f} s (median of {args.rounds}; {least:.2f} to {most:.2f})")
    print(f"bar: below {BAR_SECONDS:g} s")


def make_run(path: Path, n_neurons: int) -> Path:
    """Two layers whose neurons are all in the sample."""
    from record_runs import make_record_run

    width = n_neurons // 2
    chosen = [(layer, neuron) for layer in range(2) for neuron in range(width)]
    return make_record_run(path, d_mlp=width, chosen=chosen, n_documents=24, n_sample=8, top_k=3)


def fresh_answer(asked: Asked) -> Act:
    return answer(f"theme {asked.body['seed']}")


def timed(run_dir: Path, base_url: str) -> float:
    """Seconds of the whole command."""
    stage = [sys.executable, "-m", "neuron_signatures.poc5_explain_neurons", "--run_dir", str(run_dir), "--quiet"]
    model = ["--llm", "openai:gpt-test", "--base_url", base_url, "--no_cache", "--concurrency", "16", "--set", "bench"]
    started = time.perf_counter()
    subprocess.run(
        [*stage, *model, "--poles", "+", "--n_windows", "2"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
