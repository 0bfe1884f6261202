"""Time and memory of tracing circuits; the figures are in docs/performance.md.

    OMP_NUM_THREADS=2 python scripts/bench_circuits.py [--quick] [--real] [--only NAME ...]

`batches` compares rows in batches with one backward pass per row, in this process. `demo` and `smollm2` (with --real)
are the time from the relevance of all neurons to the pruned graph, and `..._memory` the growth of the resident memory
meanwhile, in a process of their own that has loaded the model and run it once. The graph has up to 300 neurons, which
are chosen from twice as many candidates; `heads` and `totals` are what total effects and shares of heads add.
"""

from __future__ import annotations

import json
import subprocess
import sys

import torch
from bench_common import Bar, Bench, alternate, at_most, run_benches

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.cli.trace_circuit import CANDIDATES_PER_NODE
from neuron_signatures.models.load import ModelSpec, load_model
from neuron_signatures.models.tokens import encode_text

NODES, BATCHES, BYTES = 300, 0.5, 2e9
DEMO_SECONDS, REAL_SECONDS = 20.0, 90.0
DEMO_PROMPT = "The capital of the state containing Dallas is"
REAL_PROMPT = "We all know that the capital of France is"  # 10 tokens with the one of the beginning

# Prints seconds by part, the tokens of the prompt, and the bytes by which the resident memory grew at most.
_TRACE = """
import json, sys, time
import torch
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.graph.matrix import edge_matrix
from neuron_signatures.circuits.graph.prune import PruneRules, prune
from neuron_signatures.circuits.tracing.heads import head_shares
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.tracing.relevance import relevance
from neuron_signatures.circuits.tracing.totals import total_effects
from neuron_signatures.models.load import ModelSpec, load_model
from neuron_signatures.models.tokens import encode_text

def resident(name):
    line = next(x for x in open("/proc/self/status") if x.startswith(name))
    return int(line.split()[1]) * 1024

name, text, n, n_candidates = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = load_model(ModelSpec(name, dtype="fp32", device="cpu"))
ids = encode_text(model.tokenizer, text, prepend_bos=True)
target = resolve_target(model, ids, TargetRequest("top1_logit")).target
problem = Problem(model.hf, ids, target, tuple(range(target.pos + 1)))
acts = problem.suffix().acts(problem.positions, range(model.hf.config.get_text_config().num_hidden_layers))
reference = acts.mean(1, keepdim=True).expand_as(acts).contiguous()
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before, seconds, processor = resident("VmRSS"), {}, time.process_time()

def part(key, f):
    start = time.perf_counter()
    found = f()
    seconds[key] = time.perf_counter() - start
    return found

nodes = part("relevance", lambda: strongest(relevance(problem, reference).neurons, n_candidates))
edges = part("edges", lambda: incoming(problem, [None, *nodes], nodes, reference))
pruned = part("prune", lambda: prune(edge_matrix(edges, nodes), PruneRules(n, 1.0, 0.98)))
grown, processor = resident("VmHWM") - before, time.process_time() - processor
kept = list(pruned.matrix.neurons)
part("totals", lambda: total_effects(problem, [None, *kept], kept, reference))
pairs = [(s, t) for t in (None, *kept) for s in kept if t is None or (s.layer < t.layer and s.pos <= t.pos)][:5000]
part("heads", lambda: head_shares(problem, pairs, reference))
facts = {"n_tokens": len(ids), "nodes": len(kept), "bytes": grown, "processor": processor}
print(json.dumps({"seconds": seconds, **facts}))
"""


def bench_batches(quick: bool) -> list[Bar]:
    """Rows in batches against one at a time."""
    model = load_model(ModelSpec("demo", dtype="fp32", device="cpu"))
    ids = encode_text(model.tokenizer, DEMO_PROMPT, prepend_bos=True)
    target = resolve_target(model, ids, TargetRequest("top1_logit")).target
    problem = Problem(model.hf, ids, target, tuple(range(target.pos + 1)))
    acts = problem.suffix().acts(problem.positions, range(model.hf.config.num_hidden_layers))
    rows = [NeuronAt(layer, target.pos, n) for layer in (2, 4) for n in range(32 if quick else 128)]
    reference = torch.zeros_like(acts)
    times = alternate(
        {
            "batches": lambda: incoming(problem, rows, rows, reference),
            "single rows": lambda: incoming(problem, rows, rows, reference, memory=1),
        },
        3,
    )
    return [at_most("rows in batches / one at a time", times, "batches", "single rows", BATCHES)]


def bench_demo(quick: bool) -> list[Bar]:
    return _traced("demo", DEMO_PROMPT, DEMO_SECONDS, quick)


def bench_smollm2(quick: bool) -> list[Bar]:
    return _traced("smollm2", REAL_PROMPT, REAL_SECONDS, quick)


def _traced(name: str, text: str, bar: float, quick: bool) -> list[Bar]:
    """The best time and the largest growth of some runs."""
    runs = []
    for _ in range(1 if quick else 3):
        command = [sys.executable, "-c", _TRACE, name, text, str(NODES), str(CANDIDATES_PER_NODE * NODES)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    best = min(runs, key=_until_pruned)
    parts = ", ".join(f"{key} {value:.1f} s" for key, value in best["seconds"].items())
    detail = (
        f"{parts}; {best['nodes']} neurons, {best['n_tokens']} tokens; processor time until pruned "
        f"{best['processor']:.1f} s; {len(runs)} runs"
    )
    seconds, grown = _until_pruned(best), max(run["bytes"] for run in runs)
    return [
        Bar(f"trace and prune on {name} / {bar:.0f} s", seconds / bar, "<= 1", seconds <= bar, detail),
        Bar(f"memory of it on {name} / 2 GB", grown / BYTES, "<= 1", grown <= BYTES, f"{grown / 1e6:.0f} MB"),
    ]


def _until_pruned(run: dict[str, dict[str, float]]) -> float:
    return sum(run["seconds"][key] for key in ("relevance", "edges", "prune"))


BENCHES: dict[str, Bench] = {"batches": bench_batches, "demo": bench_demo}
REAL: dict[str, Bench] = {"smollm2": bench_smollm2}

if __name__ == "__main__":
    sys.exit(run_benches(__doc__, BENCHES, real=REAL))
