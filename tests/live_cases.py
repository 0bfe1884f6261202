"""The tiny models and the demo model as a server holds them, requests, and what plain forward passes give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from attribution_cases import loaded, token_ids
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.models.capture import output_projections
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc4_extract_records import main as extract
from neuron_signatures.server.held import Held
from neuron_signatures.server.holder import model_facts

DALLAS = "The capital of the state containing Dallas is"
DALLAS_ID = "seed_prompt"
AUSTIN, DENVER = 704, 789
IDS = token_ids(9)
"""A text for the tiny models, as token ids."""


def never() -> bool:
    """Nobody gives the request up."""
    return False


class StopAfter:
    """A `Stop` that returns True from the call `n` on."""

    def __init__(self, n: int) -> None:
        self.n, self.asked = n, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked >= self.n


@functools.cache
def held(name: str) -> Held:
    """The tiny model of this architecture, or the demo model, in float32 on the CPU; no runs."""
    model = loaded(name)
    return Held(model, model_facts(model), None, 60)


def held_with_runs(root: Path, *, max_tokens: int = 60) -> Held:
    """The demo model, with the runs below `root`."""
    model = loaded("demo")
    return Held(model, model_facts(model), root, max_tokens)


def record_run(folder: Path) -> Path:
    """A run of one prompt of the demo model, too short for a mean, with records of a corpus; all in float32."""
    model = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert dump([*model, "--single_prompt", DALLAS, "--out_dir", str(folder), "--save_dtype", "fp32"]) == 0
    corpus = ["--corpus", "demo", "--max_tokens", "3000", "--top_records", "2", "--neurons", "L3N508"]
    assert extract(["--run_dir", str(folder), "--device", "cpu", "--quiet", *corpus]) == 0
    return folder


@torch.no_grad()
def plain_acts(name: str, ids: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
    """Activations of all layers, by hooks on the inputs of the MLPs' output projections."""
    hf, seen, handles = loaded(name).hf, {}, []
    for layer, projection in enumerate(output_projections(hf)):

        def keep(_: object, args: tuple[Tensor], layer: int = layer) -> None:
            seen[layer] = args[0].reshape(len(ids), -1).clone()

        handles.append(projection.register_forward_pre_hook(keep))
    hf(input_ids=torch.tensor([list(ids)]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([seen[layer] for layer in sorted(seen)])


def at_layer(layer: int, edit: Callable[[Tensor], Tensor]) -> dict[int, Callable[[Tensor], Tensor]]:
    """The edit of one layer, for `intervention_cases.plain_logits`."""
    return {layer: edit}
