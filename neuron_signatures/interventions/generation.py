"""Generation with edits, by plain forward passes of the model. `Session.generate` does the same through a bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from neuron_signatures.analysis.attribution.readout import head_in_parts
from neuron_signatures.interventions.edits import Edit, plain_hooks
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import UsageError


class Continuation(NamedTuple):
    """The new tokens. `finished`: the last of them is an end token."""

    token_ids: list[int]
    finished: bool


def end_tokens(model: LoadedModel) -> frozenset[int]:
    """The ids that end a text, by the tokenizer and by the generation config of the checkpoint."""
    configured = getattr(model.hf.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(int(i) for i in (*ids, model.tokenizer.eos_token_id) if i is not None)


@torch.no_grad()
def continue_text(
    model: LoadedModel,
    token_ids: Sequence[int],
    edits: Sequence[Edit] = (),
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    use_cache: bool = True,
    before_each: Callable[[], None] = lambda: None,
) -> Continuation:
    """The most likely tokens at temperature 0, else drawn with this seed on the CPU, up to and with an end token.

    An edit at given positions holds there; one without positions also at every new token. Edited keys and values are
    cached. `before_each` is called before each forward pass. Raises `UsageError` if a prediction is not finite.
    """
    ends = end_tokens(model)
    generator = torch.Generator().manual_seed(seed)
    past = DynamicCache(config=model.hf.config) if use_cache else None
    found: list[int] = []
    given = list(token_ids)
    with (
        memory_faults(work_on(model.hf, "generation", token_ids)),
        plain_hooks(model.hf, edits),
        head_in_parts(model.hf.get_output_embeddings()),
    ):
        while len(found) < max_new_tokens and not (found and found[-1] in ends):
            before_each()
            ids = torch.tensor([given], device=model.device)
            out = model.hf(input_ids=ids, past_key_values=past, use_cache=use_cache, logits_to_keep=1)
            found.append(_chosen(out.logits[0, -1].float().cpu(), temperature, generator))
            given = [found[-1]] if use_cache else [*given, found[-1]]
    return Continuation(found, bool(found) and found[-1] in ends)


def _chosen(logits: Float[Tensor, " vocab"], temperature: float, generator: torch.Generator) -> int:
    if not bool(torch.isfinite(logits).all()):
        what = "the prediction is not finite"
        raise UsageError(what, where="generation", next_step="Use smaller edits, or load the model in fp32")
    if temperature == 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()).double() / temperature  # finite or -inf however small the temperature
    return int(torch.multinomial(scaled.softmax(-1), 1, generator=generator))
