"""Tiny models with a prompt and a target, and the plain forward passes that attributions are checked against."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from tiny_models import VOCAB, tiny_model_dir
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.estimators.ablation import every_neuron, single_ablations
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target, TargetFunction
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.models.capture import MlpShape, mlp_shape, output_projections
from neuron_signatures.models.load import LoadedModel, ModelSpec, load_model

REQUIRED = ("gpt2", "gemma2", "gemma3", "llama", "qwen3", "phi", "gpt_neox", "demo")
SANDWICH = ("gemma2", "gemma3", "demo")
BIAS_FREE = ("demo", "gemma2", "gemma3", "llama", "qwen3", "mistral", "phi3")
LENGTH = 11  # longer than the sliding window
TARGET_POS = 8
FOIL = 7

# (layer, activations [1 pos neuron]) -> activations
ActsEdit = Callable[[int, Tensor], Tensor]


@functools.cache
def loaded(name: str) -> LoadedModel:
    """The tiny model of this architecture, or the demo model, for tests that leave it as it is."""
    source = name if name == "demo" else str(tiny_model_dir(name))
    return load_model(ModelSpec(source, dtype="fp32", device="cpu"))


def shape_of(name: str) -> MlpShape:
    return mlp_shape(loaded(name).hf)


@functools.cache
def in_float64(name: str) -> PreTrainedModel:
    return copy.deepcopy(loaded(name).hf).double()


def token_ids(length: int = LENGTH, seed: int = 0) -> list[int]:
    return torch.randint(5, VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def target_of(name: str, *, foil: int | None = FOIL, function: TargetFunction = "pre_cap_logit") -> Target:
    """The most likely token at `TARGET_POS`, two positions before the prompt's last."""
    request = TargetRequest("top1_logit", pos=TARGET_POS, foil_id=foil, function=function)
    return resolve_target(loaded(name), token_ids(), request).target


def problem_of(
    hf: PreTrainedModel, target: Target, positions: Sequence[int] | None = None, ids: Sequence[int] | None = None
) -> Problem:
    """The test prompt as an attribution problem, by default with all positions up to the target's."""
    chosen = range(target.pos + 1) if positions is None else positions
    return Problem(hf, token_ids() if ids is None else ids, target, tuple(chosen))


def plain_value(hf: PreTrainedModel, target: Target, edit: ActsEdit | None = None) -> float:
    """f from one plain forward pass over the whole prompt, with `edit` applied by hooks."""
    handles = []
    for layer, projection in enumerate(output_projections(hf)):

        def hook(_: nn.Module, args: tuple[Tensor], layer: int = layer) -> tuple[Tensor]:
            acts = args[0].reshape(1, LENGTH, -1).clone()
            return (edit(layer, acts).reshape(args[0].shape),)

        if edit is not None:
            handles.append(projection.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            logits = hf(input_ids=torch.tensor([token_ids()]), use_cache=False).logits[0, target.pos]
    finally:
        for handle in handles:
            handle.remove()
    return value_of(hf, logits, target)


def value_of(hf: PreTrainedModel, logits: Tensor, target: Target) -> float:
    """f from the model's logits; the soft cap is inverted for the pre-cap logit."""
    cap = getattr(hf.config, "final_logit_softcapping", None)
    if target.function == "pre_cap_logit" and cap is not None:
        logits = cap * torch.atanh(logits / cap)
    if target.function == "logprob":
        logits = logits.log_softmax(-1)
    value = logits[target.token_id]
    return float(value if target.foil_id is None else value - logits[target.foil_id])


def setting(changes: Sequence[tuple[int, int, int, float]]) -> ActsEdit:
    """An edit that sets (layer, pos, neuron) to a value."""

    def edit(layer: int, acts: Tensor) -> Tensor:
        for where, pos, neuron, value in changes:
            if where == layer:
                acts[0, pos, neuron] = value
        return acts

    return edit


def scaling(layer: int, pos: int, neuron: int, factor: float) -> ActsEdit:
    def edit(here: int, acts: Tensor) -> Tensor:
        if here == layer:
            acts[0, pos, neuron] *= factor
        return acts

    return edit


def ablation(
    problem: Problem, *, reference: Float[Tensor, "layer pos neuron"], layers: Sequence[int] | None = None
) -> Attribution:
    """The effects of single ablations of every neuron of `layers` (all if None) as an attribution."""
    shape = mlp_shape(problem.hf)
    chosen = tuple(range(shape.n_layers) if layers is None else layers)
    neurons = every_neuron(problem.hf, layers=chosen, positions=problem.positions)
    acts = problem.suffix().acts(problem.positions, chosen)
    effects = torch.empty(len(neurons))
    for chunk in single_ablations(problem, neurons, values=reference[list(chosen)].expand(acts.shape).reshape(-1)):
        effects[chunk.rows] = chunk.effects
    return Attribution("ablation", chosen, problem.positions, effects.view(acts.shape), acts, None)
