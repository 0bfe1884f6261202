"""Predictions of the model as messages, from its pre-cap logits at one position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.readout import capped
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.targets import (
    FieldNames,
    TargetRequest,
    next_token_logits,
    resolve_pos,
    resolve_with_logits,
)
from neuron_signatures.analysis.tokens.vocab import single_token
from neuron_signatures.api.live import Chance, NextTokenAnswer, NextTokenRequest, TargetAnswer, TargetMessage
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.tokens import ids_of, token_rows

FIELDS = FieldNames(pos="on.pos", token="on.target", foil="on.foil", quoted=False)


class FoundTarget(NamedTuple):
    """`logits` are the pre-cap logits at the target position."""

    target: Target
    logits: Float[Tensor, " vocab"]
    warnings: tuple[str, ...]


def next_token(held: Held, request: NextTokenRequest, stop: Stop) -> NextTokenAnswer:
    """The model's prediction after one position. Later tokens are not read."""
    ids = ids_of(held, request)
    pos = resolve_pos(request.pos, len(ids), where="pos")
    asked = [
        single_token(held.model.tokenizer, text, where="tokens", next_step="Give exactly one token")
        for text in request.tokens
    ]
    with memory_faults(work_on(held.model.hf, "the forward pass", ids)):
        logits = next_token_logits(held.model, ids, pos)
    log_probs = capped(unembedding(held.model.hf), logits).log_softmax(-1)
    return NextTokenAnswer(
        tokens=token_rows(held, ids),
        pos=pos,
        top=top_chances(held, logits, request.top_k),
        asked=chances(held, logits, asked),
        entropy=float(-(log_probs.exp() * log_probs).nan_to_num().sum()),
        warnings=rounded(held),
    )


def find_target(held: Held, ids: Sequence[int], on: TargetMessage) -> FoundTarget:
    """The target of a request; its function is the pre-cap logit (difference). Raises as `resolve_target`."""
    given = on.target is not None or on.target_id is not None
    request = TargetRequest(
        "next_token" if given else "top1_logit", on.pos, on.target, on.target_id, on.foil, on.foil_id, names=FIELDS
    )
    resolved, logits = resolve_with_logits(held.model, ids, request)
    return FoundTarget(resolved.target, logits, (*resolved.warnings, *rounded(held)))


def target_answer(held: Held, target: Target, logits: Float[Tensor, " vocab"]) -> TargetAnswer:
    """The target in a prediction. Raises `UsageError` if the prediction is not finite."""
    if not bool(torch.isfinite(logits).all()):
        what = "the prediction is not finite with these edits"
        raise UsageError(what, where="edits", next_step="Use smaller values, or load the model in fp32")
    own, *foils = chances(held, logits, target.token_ids)
    value = float(logits[target.token_id]) - (0.0 if target.foil_id is None else float(logits[target.foil_id]))
    return TargetAnswer(pos=target.pos, target=own, foil=foils[0] if foils else None, value=value)


def top_chances(held: Held, logits: Float[Tensor, " vocab"], k: int) -> list[Chance]:
    """The `k` most likely tokens; ties go to the smaller id."""
    order = torch.sort(logits, descending=True, stable=True).indices[:k].tolist()
    return _chances(held, logits, order, list(range(len(order))))


def chances(held: Held, logits: Float[Tensor, " vocab"], ids: Sequence[int]) -> list[Chance]:
    """These tokens in a prediction."""
    ranks = [int((logits > logits[i]).sum() + (logits[:i] == logits[i]).sum()) for i in ids]
    return _chances(held, logits, ids, ranks)


def rounded(held: Held) -> list[str]:
    """Warnings if the model computes in less than float32."""
    spec, found = held.model.spec, []
    if spec.dtype != "fp32":
        found.append(f"the model runs in {spec.dtype}: small differences are rounded; load it with model_dtype fp32")
    if spec.quantization == "8bit":
        found.append(
            "8-bit products round activations to 1/127 of the largest: small effects and gradients are inexact"
        )
    return found


def _chances(held: Held, logits: Float[Tensor, " vocab"], ids: Sequence[int], ranks: Sequence[int]) -> list[Chance]:
    if not ids:
        return []
    after = capped(unembedding(held.model.hf), logits)
    log_probs = after.log_softmax(-1)
    index = torch.tensor(list(ids), device=logits.device)
    strings = token_strings(held.model.tokenizer, ids)
    columns = zip(ids, strings, after[index].tolist(), log_probs[index].tolist(), ranks, strict=True)
    return [
        Chance(token_id=i, token=encodable(s), logit=logit, log_prob=lp, prob=math.exp(lp), rank=rank)
        for i, s, logit, lp, rank in columns
    ]
