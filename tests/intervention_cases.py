"""Sessions on the tiny models and the demo model, prompts, and edits made by hand with plain PyTorch hooks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from attribution_cases import loaded
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.capture import decoder_layers, mlp_shape, output_projections
from neuron_signatures.models.tokens import encode_text, token_strings

DALLAS = "The capital of the state containing Dallas is"
OAKLAND = "The capital of the state containing Oakland is"
CHICAGO = "The capital of the state containing Chicago is"

# Activations [batch pos neuron], or the residual stream [batch pos d_model] -> the same, edited
ByHand = Callable[[Tensor], Tensor]


@functools.cache
def session(name: str) -> Session:
    """A session on the tiny model of this architecture, or on the demo model; `loaded(name)` stays as it is."""
    return Session(loaded(name), (3, 4, 5))


def prompt_of_ids(ids: Sequence[int], prompt_id: str | None = None) -> Prompt:
    return Prompt(prompt_id, "text", tuple(ids), tuple(f" t{i}" for i in ids), 0)


def prompt_of_words(text: str, n_special: int = 0) -> Prompt:
    """A prompt whose tokens are its words."""
    words = [w if i == 0 else f" {w}" for i, w in enumerate(text.split())]
    ids = [sum(map(ord, w.strip())) * 31 + len(w) for w in words]
    return Prompt(None, text, tuple(ids), tuple(words), n_special)


def demo_prompt(text: str) -> Prompt:
    """A text as the demo model reads it, with its BOS."""
    tokenizer = loaded("demo").tokenizer
    ids = encode_text(tokenizer, text, prepend_bos=True)
    return Prompt(None, text, tuple(ids), tuple(token_strings(tokenizer, ids)), 1)


@torch.no_grad()
def plain_logits(
    hf: PreTrainedModel,
    ids: Sequence[Sequence[int]],
    acts: dict[int, ByHand] | None = None,
    residual: dict[int, ByHand] | None = None,
) -> Float[Tensor, "batch pos vocab"]:
    """The logits of a plain forward pass; `acts` edits the inputs of the layers' output projections, `residual` the
    outputs of the layers."""
    n_prompts, length = len(ids), len(ids[0])
    projections, layers, handles = output_projections(hf), decoder_layers(hf), []
    for layer, edit in (acts or {}).items():

        def before(_: nn.Module, args: tuple[Tensor], edit: ByHand = edit) -> tuple[Tensor]:
            # OPT multiplies all positions of all prompts as one list.
            return (edit(args[0].reshape(n_prompts, length, -1).clone()).reshape(args[0].shape),)

        handles.append(projections[layer].register_forward_pre_hook(before))
    for layer, edit in (residual or {}).items():

        def after(_: nn.Module, __: object, out: Tensor | tuple, edit: ByHand = edit) -> Tensor | tuple:
            return (edit(out[0].clone()), *out[1:]) if isinstance(out, tuple) else edit(out.clone())

        handles.append(layers[layer].register_forward_hook(after))
    try:
        logits: Tensor = hf(input_ids=torch.tensor([list(i) for i in ids]), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return logits


def random_changes(
    hf: PreTrainedModel, positions: Sequence[int], n: int, seed: int, kinds: Sequence[str] = ("set", "add", "scale")
) -> Changes:
    """`n` different cells of all layers at these positions, with random kinds and values."""
    shape = mlp_shape(hf)
    rng = np.random.default_rng(seed)
    cells = rng.choice(shape.n_layers * len(positions) * shape.d_mlp, n, replace=False)
    layer, row, neuron = (torch.from_numpy(x) for x in np.unravel_index(
        cells, (shape.n_layers, len(positions), shape.d_mlp)
    ))  # fmt: skip
    kind = rng.choice(list(kinds), n)
    values = rng.normal(0, 2, n)
    factor = np.select([kind == "set", kind == "add"], [0.0, 1.0], values)
    offset = np.where(kind == "scale", 0.0, values)
    pos = torch.tensor(list(positions))[row]
    return Changes(layer, pos, neuron, torch.tensor(factor).float(), torch.tensor(offset).float())
