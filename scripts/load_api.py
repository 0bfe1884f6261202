"""Load on the HTTP API: many clients for a while, then a server that is killed and started again.

    python scripts/load_api.py --runs_root runs --clients 50 --seconds 60
    python scripts/load_api.py --runs_root runs --model_name smollm2

Starts `neuron_signatures.serve` on loopback. Every client sends one request after the other, drawn from all paths;
after 429 it waits 0.1 to 0.3 s, sooner than the server asks for. Prints per path the latency of its answers and the
statuses, and the server's resident memory. The same request must get the same bytes every time. Then the server is
killed (SIGKILL) under load and started again: the run folders must be byte-equal, and the clients go on.

Ends with 1 if a status is neither 2xx nor 429, an answer differs, the memory of the last quarter is more than 5 %
above that of the second, a file changed, or a client does not go on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

TEXTS = (
    "The capital of the state containing Dallas is",
    "The capital of the state containing Oakland is",
    "The capital of Texas is a city",
    "A river in the north of the state is the border, and the city on it is old, larger than the capital",
)
VARIANTS = 8
MOST_GROWTH = 0.05
START_SECONDS = 120


class Ask(NamedTuple):
    """One request. `kind` is its path without names and numbers."""

    kind: str
    method: str
    path: str
    body: dict[str, Any] | None


@dataclass
class Seen:
    """What the clients saw. `first` is the hash of the first answer to each request."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    first: dict[str, str] = field(default_factory=dict)
    differing: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Requests whose connection was refused or cut."""
    last_ok: dict[int, float] = field(default_factory=dict)
    """When each client last got a 2xx."""


def main() -> int:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.log = Path(folder) / "server.log"
        return run(args)


def run(args: argparse.Namespace) -> int:
    """The exit code."""
    before = hashes(args.runs_root)
    with Server(args, port=0) as server:
        asks = asyncio.run(usable(server.url, all_asks(server.url, args.runs_root)))
        seen, memory, cpu = Seen(), [server.rss()], server.cpu_seconds()
        started = time.monotonic()
        asyncio.run(load(server, asks, seen, memory, args.clients, args.seconds))
        seconds, cpu = time.monotonic() - started, server.cpu_seconds() - cpu
        print(f"the server had {cpu / seconds:.2f} of {os.cpu_count()} processors")
        ok = report(seen, memory, seconds)
    if args.seconds_kill:
        ok &= kill_and_restart(args, asks, seen.first)
    same = hashes(args.runs_root) == before
    print(f"run folders: {len(before)} files, {'all byte-equal' if same else 'CHANGED'}")
    print("all bars hold" if ok and same else "A BAR IS MISSED")
    return 0 if ok and same else 1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="demo")
    parser.add_argument("--runs_root", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seconds_kill", type=float, default=20.0, help="0: do not kill the server")
    parser.add_argument("--max_queue", type=int, default=16)
    return parser.parse_args()


class Server:
    """`neuron_signatures.serve` in a process of its own. Entering waits until its model is loaded."""

    def __init__(self, args: argparse.Namespace, *, port: int) -> None:
        flags = ["--model_name", args.model_name, "--runs_root", str(args.runs_root), "--port", str(port)]
        self._command = [sys.executable, "-m", "neuron_signatures.serve", *flags, "--max_queue", str(args.max_queue)]
        self._log = args.log

    def __enter__(self) -> Server:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, f"the server ended: see {self._log}"
        self.port = int(self.url.rpartition(":")[2])
        end = time.monotonic() + START_SECONDS
        while httpx.get(f"{self.url}/v1/health").json()["model"]["state"] != "ready":
            assert time.monotonic() < end, "the model is not loaded"
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        code = self._process.wait(30)
        logged = self._log.read_text()
        print(f"the server ended with {code}; tracebacks in its log: {logged.count('Traceback')}")
        assert code in (0, -signal.SIGKILL) and "Traceback" not in logged, logged[-3000:]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def cpu_seconds(self) -> float:
        """Of all its threads, in user and system mode."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def all_asks(url: str, runs_root: Path) -> list[Ask]:
    """Requests of every path, several of each."""
    facts = httpx.get(f"{url}/v1/health").json()["model"]["facts"]
    rng = random.Random(0)
    names = sorted(p.name for p in runs_root.iterdir() if (p / "manifest.json").is_file())
    runs = {name: httpx.get(f"{url}/v1/runs/{name}").json() for name in names[:1]}
    asks = [Ask("/health", "GET", "/health", None), Ask("/memory", "GET", "/memory", None),
            Ask("/models", "GET", "/models", None), Ask("/runs", "GET", "/runs", None)]  # fmt: skip
    for _ in range(VARIANTS):
        at = {"layer": rng.randrange(facts["n_layers"]), "neuron": rng.randrange(facts["d_mlp"])}
        edit = {"layer": at["layer"], "neurons": [at["neuron"]], "kind": "zero"}
        text = {"text": rng.choice(TEXTS)}
        metric = rng.choice(("dla", "act_grad"))
        bodies = {
            "/tokens": text,
            "/activations": {**text, "neurons": [at], "top_k": 5},
            "/activations/tensor": {**text, "layers": [at["layer"]]},
            "/next_token": {**text, "top_k": 5},
            "/influence": {**text, "metric": metric, "top_k": 5},
            "/intervene": {**text, "edits": [edit], "controls": 10},
            "/generate": {**text, "edits": [edit], "max_new_tokens": 5},
        }
        asks += [Ask(path, "POST", path, body) for path, body in bodies.items()]
        for run, shape in runs.items():
            neuron = f"/runs/{run}/neurons/{rng.randrange(shape['n_layers'])}/{rng.randrange(shape['d_mlp'])}"
            word = rng.choice(("city", "number", "state", "capital"))
            asks += [
                Ask("/runs/RUN", "GET", f"/runs/{run}", None),
                Ask("/runs/RUN/neurons/L/N", "GET", neuron, None),
                Ask("/runs/RUN/explanations", "GET", f"/runs/{run}/explanations?limit=20&words={word}", None),
                *(
                    Ask(f"/runs/RUN/search {by}", "POST", f"/runs/{run}/search", {"query": word, "by": by})
                    for by in ("words", "meaning")
                ),
            ]
    return asks


async def usable(url: str, asks: list[Ask]) -> list[Ask]:
    """The requests that this server and these runs can answer; says which paths it cannot, and why."""
    found, refused = [], {}
    async with httpx.AsyncClient(base_url=f"{url}/v1", timeout=120) as client:
        for ask in asks:
            answer = await client.request(ask.method, ask.path, json=ask.body)
            if answer.status_code == 200:
                found.append(ask)
            else:
                refused[ask.kind] = f"{answer.status_code} {answer.json().get('detail', '')[:100]}"
    for kind, why in refused.items():
        print(f"without {kind}: {why}")
    return found


async def load(server: Server, asks: list[Ask], seen: Seen, memory: list[int], clients: int, seconds: float) -> None:
    """All clients for so long, while the memory is read every second."""
    end = time.monotonic() + seconds
    tasks = [asyncio.create_task(one_client(i, server.url, asks, seen, end)) for i in range(clients)]
    while time.monotonic() < end:
        await asyncio.sleep(min(1.0, max(0.0, end - time.monotonic())))
        memory.append(server.rss())
    await asyncio.gather(*tasks)


async def one_client(number: int, url: str, asks: list[Ask], seen: Seen, end: float) -> None:
    rng = random.Random(number)
    kinds = sorted({ask.kind for ask in asks})
    of_kind = {kind: [ask for ask in asks if ask.kind == kind] for kind in kinds}
    async with httpx.AsyncClient(base_url=f"{url}/v1", timeout=90) as client:
        while time.monotonic() < end:
            ask = rng.choice(of_kind[rng.choice(kinds)])
            start = time.monotonic()
            try:
                answer = await client.request(ask.method, ask.path, json=ask.body)
            except httpx.TransportError:
                seen.lost += 1
                await asyncio.sleep(0.2)
                continue
            note(seen, ask, answer, time.monotonic() - start)
            if answer.status_code == 200:
                seen.last_ok[number] = time.monotonic()
            else:
                await asyncio.sleep(rng.uniform(0.1, 0.3))


def note(seen: Seen, ask: Ask, answer: httpx.Response, seconds: float) -> None:
    seen.statuses[ask.kind][answer.status_code] += 1
    if answer.status_code != 200:
        return
    seen.latencies[ask.kind].append(seconds)
    if ask.kind in ("/health", "/memory", "/models"):
        return
    value = answer.content
    if "/search" in ask.kind:  # with its time
        value = repr([hit for key, hit in answer.json().items() if key != "seconds"]).encode()
    elif ask.kind.endswith("/tensor"):  # safetensors 0.8 writes the metadata in any order
        end = 8 + int.from_bytes(value[:8], "little")
        value = json.dumps(json.loads(value[8:end]), sort_keys=True).encode() + value[end:]
    digest = hashlib.sha256(value).hexdigest()
    if seen.first.setdefault(repr(ask), digest) != digest:
        seen.differing[ask.kind] += 1


def report(seen: Seen, memory: list[int], seconds: float) -> bool:
    """Print the figures of one load; whether its bars hold."""
    total: Counter[int] = sum(seen.statuses.values(), Counter())
    print(f"{'path':28} {'2xx':>7} {'429':>6} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}")
    every: list[float] = []
    for kind in sorted(seen.statuses):
        every += seen.latencies[kind]
        print(_row(kind, seen.statuses[kind], seen.latencies[kind]))
    print(_row("all", total, every))
    print(f"{total.total() / seconds:.0f} requests/s, of them {total[200] / seconds:.0f} answered with 2xx")
    quarter = max(1, len(memory) // 4)
    second, last = statistics.median(memory[quarter : 2 * quarter + 1]), statistics.median(memory[-quarter:])
    middle = memory[len(memory) // 2]
    shown = " ".join(
        f"{name} {n / 1e6:.0f}" for name, n in (("start", memory[0]), ("middle", middle), ("end", memory[-1]))
    )
    print(f"resident memory in MB: {shown}; last quarter / second quarter {last / second:.3f}")
    wrong = {status: n for status, n in total.items() if status not in (200, 429)}
    print(
        f"other statuses: {wrong or 'none'}; answers that differ: {dict(seen.differing) or 'none'}; lost: {seen.lost}"
    )
    return not wrong and not seen.differing and not seen.lost and last / second <= 1 + MOST_GROWTH


def _row(kind: str, statuses: Counter[int], latencies: list[float]) -> str:
    cells = [f"{1000 * q:8.1f}" for q in quantiles(latencies)]
    return f"{kind:28} {statuses[200]:7} {statuses[429]:6} {' '.join(cells)}"


def quantiles(values: list[float]) -> list[float]:
    """The 50th, 95th and 99th percentile."""
    if len(values) < 2:
        return (values or [float("nan")]) * 3
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return [cut[49], cut[94], cut[98]]


def kill_and_restart(args: argparse.Namespace, asks: list[Ask], first: dict[str, str]) -> bool:
    """Kill the server in the middle of a load and start it on the same port; whether every client went on."""
    seen = Seen(first=dict(first))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(args, port=0))
        killed_at, back_at = asyncio.run(_killed_load(args, server, asks, seen, stack))
    back = sum(at > back_at for at in seen.last_ok.values())
    wrong = {s: n for count in seen.statuses.values() for s, n in count.items() if s not in (200, 429, 503)}
    print(f"killed under load: {seen.lost} requests lost, back after {back_at - killed_at:.1f} s, {back} of "
          f"{args.clients} clients went on, {sum(seen.differing.values())} answers differ, other statuses: "
          f"{wrong or 'none'} (503 while the model is loaded)")  # fmt: skip
    return back == args.clients and not seen.differing and not wrong


async def _killed_load(
    args: argparse.Namespace, server: Server, asks: list[Ask], seen: Seen, stack: contextlib.ExitStack
) -> tuple[float, float]:
    end = time.monotonic() + args.seconds_kill
    tasks = [asyncio.create_task(one_client(i, server.url, asks, seen, end)) for i in range(args.clients)]
    await asyncio.sleep(args.seconds_kill / 4)
    server.kill()
    killed_at = time.monotonic()
    again = Server(args, port=server.port)
    await asyncio.to_thread(stack.enter_context, again)
    back_at = time.monotonic()
    await asyncio.gather(*tasks)
    return killed_at, back_at


def hashes(root: Path) -> dict[str, str]:
    """The sha256 of every file below `root`."""
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(root)}


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
