"""Write scores: the tokens that a neuron promotes and suppresses, from its output direction through the unembedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.readout import pre_cap_logits
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.residual import ResidualTrace, trace_residual
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import output_weight, unembedding


@dataclass(frozen=True)
class TokenScore:
    """Pre-cap logit that one unit of the neuron's activation adds to this token."""

    token_id: int
    token: str
    score: float


@dataclass(frozen=True)
class WriteScores:
    """One neuron at one position of one prompt.

    `promotes` has the highest scores in descending order, `suppresses` the lowest in ascending order; a negative
    activation swaps the two. score times `activation` is the dla of the token.
    """

    layer: int
    neuron: int
    activation: float
    promotes: tuple[TokenScore, ...]
    suppresses: tuple[TokenScore, ...]
    explicit: tuple[TokenScore, ...]


def write_scores(
    model: LoadedModel,
    token_ids: Sequence[int],
    pos: int,
    neurons: Sequence[tuple[int, int]],
    *,
    top: int,
    explicit_ids: Sequence[int] = (),
) -> list[WriteScores]:
    """The `top` tokens that each (layer, neuron) promotes and suppresses, and its score for each explicit token.

    The score is z(g ⊙ W_out[i]), as in `dla.direct_logit_attribution`, with the norms' scales at `pos` of this prompt.
    The scales are positive factors: the numbers depend on prompt and position, the order of the tokens does not.
    """
    with memory_faults(work_on(model.hf, "the write scores", token_ids)):
        return _write_scores(model, token_ids, pos, neurons, top, explicit_ids)


def _write_scores(
    model: LoadedModel,
    token_ids: Sequence[int],
    pos: int,
    neurons: Sequence[tuple[int, int]],
    top: int,
    explicit_ids: Sequence[int],
) -> list[WriteScores]:
    trace = trace_residual(model.hf, token_ids, pos)
    projections = output_projections(model.hf)
    out: dict[tuple[int, int], WriteScores] = {}
    for layer in sorted({layer for layer, _ in neurons}):
        members = [neuron for of_layer, neuron in neurons if of_layer == layer]
        rows = output_weight(projections[layer])[members].to(trace.final)
        for neuron, row in zip(members, rows, strict=True):
            scores = _token_scores(model, trace, layer, row)
            tokens = [scores.topk(min(top, len(scores)), largest=high).indices.tolist() for high in (True, False)]
            named = [_named(model, scores, ids) for ids in (*tokens, explicit_ids)]
            out[layer, neuron] = WriteScores(layer, neuron, float(trace.acts[layer, neuron]), *named)
    return [out[layer, neuron] for layer, neuron in neurons]


@torch.no_grad()
def _token_scores(
    model: LoadedModel, trace: ResidualTrace, layer: int, row: Float[Tensor, " d_model"]
) -> Float[Tensor, " vocab"]:
    norm = trace.post_mlp[layer]
    written = row if norm is None else norm.linear(row)
    return pre_cap_logits(unembedding(model.hf)._replace(bias=None), trace.final_norm.linear(written)[None])[0]


def _named(model: LoadedModel, scores: Float[Tensor, " vocab"], token_ids: Sequence[int]) -> tuple[TokenScore, ...]:
    names = token_strings(model.tokenizer, list(token_ids))
    return tuple(TokenScore(i, name, float(scores[i])) for i, name in zip(token_ids, names, strict=True))
