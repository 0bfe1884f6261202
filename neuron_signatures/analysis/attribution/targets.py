"""Resolves the target of an attribution: a token at a position, an optional foil, and a function of the logits."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase as TokenizerBase

from neuron_signatures.analysis.attribution.readout import capped, head_in_parts, pre_cap_logits
from neuron_signatures.analysis.attribution.target import Target, TargetFunction, TargetMode
from neuron_signatures.analysis.tokens.vocab import single_token
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import encode_text, token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.errors import UsageError

log = logging.getLogger(__name__)

N_TOP = 5
# How much likelier a token must be for a question whether it was meant.
_TWIN_FACTOR = 10

# Largest difference between our logits and the model's own, as a share of the largest logit.
_TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.01, torch.float32: 1e-4}


class FieldNames(NamedTuple):
    """What errors call the parts of a target. `quoted`: whether quotes around a token may be those of a shell."""

    pos: str = "--target_pos"
    token: str = "--target_token"
    foil: str = "--foil_token"
    quoted: bool = True


FLAGS = FieldNames()


@dataclass(frozen=True)
class TargetRequest:
    """The target as given by flags or fields. A token is given as text or as an id, not both; None means not given.

    `pos` may be negative (-1 is the last token); `resolve_target` resolves it.
    """

    mode: TargetMode
    pos: int = -1
    token: str | None = None
    token_id: int | None = None
    foil: str | None = None
    foil_id: int | None = None
    function: TargetFunction = "pre_cap_logit"
    names: FieldNames = FLAGS


@dataclass(frozen=True)
class TokenFacts:
    """One token in the model's prediction. `rank` is 0 for the most likely token; ties go to the smaller id."""

    token_id: int
    token: str
    pre_cap_logit: float
    logit: float
    probability: float
    rank: int


@dataclass(frozen=True)
class TargetFacts:
    """The model's prediction at the target position, in float32 (from the residual stream in the model's dtype).

    `value` is that of the target function. `soft_cap` is None if the logits are not capped.
    """

    value: float
    target: TokenFacts
    foil: TokenFacts | None
    top: tuple[TokenFacts, ...]
    soft_cap: float | None


class ResolvedTarget(NamedTuple):
    target: Target
    facts: TargetFacts
    warnings: tuple[str, ...] = ()


def resolve_target(model: LoadedModel, token_ids: Sequence[int], request: TargetRequest) -> ResolvedTarget:
    """The target of `request` for this prompt, and the model's prediction there (one forward pass).

    - top1_logit: the most likely token at `pos`;
    - next_token: the given token at `pos`, else the prompt's own next token;
    - last_token: the prompt's last token, at the position before it.

    Raises `UsageError` for text that is not one token, a position outside the prompt, flags that exclude each other,
    and an architecture that changes its logits other than by a soft cap.
    """
    return resolve_with_logits(model, token_ids, request)[0]


def resolve_with_logits(
    model: LoadedModel, token_ids: Sequence[int], request: TargetRequest
) -> tuple[ResolvedTarget, Float[Tensor, " vocab"]]:
    """As `resolve_target`, with the pre-cap logits at the target position."""
    names = request.names
    pos, token_id = _position_and_token(model.tokenizer, token_ids, request)
    foil_id = _token_flag(model.tokenizer, request.foil, request.foil_id, names.foil, quoted=names.quoted)
    with memory_faults(work_on(model.hf, "the forward pass for the target's logits", token_ids)):
        logits = next_token_logits(model, token_ids, pos)
    vocab = logits.shape[0]
    for name, given in ((names.token, token_id), (names.foil, foil_id)):
        if given is not None and not 0 <= given < vocab:
            raise UsageError(f"{given} is not in 0..{vocab - 1}", where=f"{name}_id")
    token_id = int(logits.argmax()) if token_id is None else token_id
    if foil_id == token_id:
        raise UsageError("the foil is the target", where=f"{names.foil}_id {foil_id}")
    target = Target(pos, token_id, foil_id, request.function, request.mode)
    facts = target_facts(model, logits, target)
    warnings = _likelier_twin(model, logits, facts.target, "target") if request.token is not None else ()
    if request.foil is not None and facts.foil is not None:
        warnings += _likelier_twin(model, logits, facts.foil, "foil")
    return ResolvedTarget(target, facts, warnings), logits


@torch.no_grad()
def next_token_logits(model: LoadedModel, token_ids: Sequence[int], pos: int) -> Float[Tensor, " vocab"]:
    """Pre-cap logits at `pos`, at least float32. Raises `UsageError` where they do not give the model's logits."""
    head = unembedding(model.hf)
    seen: list[Tensor] = []
    module = model.hf.get_output_embeddings()
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        ids = torch.tensor([list(token_ids[: pos + 1])], device=model.device)
        with head_in_parts(module):
            own = model.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
    finally:
        hook.remove()
    logits = pre_cap_logits(head, seen[0][:, -1])[0]
    ours = capped(head, logits)
    error = float((ours - own).abs().max() / own.abs().max())
    if not error <= _TOLERANCE.get(own.dtype, 1e-4):
        raise UsageError(
            f"its logits are not those of its unembedding and soft cap (off by {error:.2g})",
            where=type(model.hf).__name__,
            next_step="This architecture is not supported for influence",
        )
    return logits


def target_facts(model: LoadedModel, logits: Float[Tensor, " vocab"], target: Target) -> TargetFacts:
    """Facts about the target, its foil and the most likely tokens, from the pre-cap logits at the target position."""
    head = unembedding(model.hf)
    after = capped(head, logits)
    logprobs = after.log_softmax(-1)
    order = torch.sort(logits, descending=True, stable=True).indices
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))

    def facts(token_id: int) -> TokenFacts:
        name = token_strings(model.tokenizer, [token_id])[0]
        return TokenFacts(
            token_id=token_id,
            token=name,
            pre_cap_logit=float(logits[token_id]),
            logit=float(after[token_id]),
            probability=float(logprobs[token_id].exp()),
            rank=int(ranks[token_id]),
        )

    values = {"pre_cap_logit": logits, "logit": after, "logprob": logprobs}[target.function]
    value = float(values[target.token_id]) - (0.0 if target.foil_id is None else float(values[target.foil_id]))
    return TargetFacts(
        value=value,
        target=facts(target.token_id),
        foil=None if target.foil_id is None else facts(target.foil_id),
        top=tuple(facts(int(i)) for i in order[:N_TOP]),
        soft_cap=head.soft_cap,
    )


def in_pre_cap_logits(resolved: ResolvedTarget) -> ResolvedTarget:
    """The same target and foil with the pre-cap logit as the function, the only one that is a sum of direct effects."""
    target, facts, warnings = resolved
    value = facts.target.pre_cap_logit - (facts.foil.pre_cap_logit if facts.foil else 0.0)
    return ResolvedTarget(replace(target, function="pre_cap_logit"), replace(facts, value=value), warnings)


def in_log_probs(resolved: ResolvedTarget) -> ResolvedTarget:
    """The same target and foil with the log probability as the function; NaN if it is below the range of floats."""
    target, facts, warnings = resolved
    value = math.log(facts.target.probability) if facts.target.probability else math.nan
    if facts.foil is not None:
        value = facts.target.logit - facts.foil.logit
    return ResolvedTarget(replace(target, function="logprob"), replace(facts, value=value), warnings)


def _likelier_twin(
    model: LoadedModel, logits: Float[Tensor, " vocab"], facts: TokenFacts, what: str
) -> tuple[str, ...]:
    """A warning if the given token with a leading space, or without it, is a token that is ten times as likely."""
    token = facts.token
    twin = token.lstrip(" ") if token.startswith(" ") else " " + token
    ids = encode_text(model.tokenizer, twin, prepend_bos=False) if twin.strip() else []
    if len(ids) != 1 or token_strings(model.tokenizer, ids) != [twin]:
        return ()
    p = float(capped(unembedding(model.hf), logits).softmax(-1)[ids[0]])
    if p < _TWIN_FACTOR * facts.probability:
        return ()
    return (f"the {what} is {token!r} with probability {facts.probability:.3g}; did you mean {twin!r} ({p:.3g})?",)


def _position_and_token(
    tokenizer: TokenizerBase, token_ids: Sequence[int], request: TargetRequest
) -> tuple[int, int | None]:
    n, names = len(token_ids), request.names
    given = _token_flag(tokenizer, request.token, request.token_id, names.token, quoted=names.quoted)
    if request.mode == "last_token":
        if n < 2:
            raise UsageError("the prompt has one token, so nothing predicts it", where="--target_mode last_token")
        if given is not None or request.pos not in (-1, n - 2):
            what = f"the target is the prompt's last token, at position {n - 2}; give no other"
            raise UsageError(what, where="--target_mode last_token", next_step="Use --target_mode next_token")
        return n - 2, token_ids[-1]
    pos = resolve_pos(request.pos, n, where=names.pos)
    if request.mode == "top1_logit":
        if given is not None:
            what = "the target is the most likely token; give no other"
            raise UsageError(what, where="--target_mode top1_logit", next_step="Use --target_mode next_token")
        return pos, None
    if given is None and pos == n - 1:
        what = "no token follows the prompt's last one"
        raise UsageError(what, where="--target_mode next_token", next_step="Give --target_token")
    return pos, token_ids[pos + 1] if given is None else given


def resolve_pos(pos: int, length: int, *, where: str) -> int:
    """A non-negative position; -1 is the last. Raises `UsageError` outside the prompt."""
    if not -length <= pos < length:
        raise UsageError(f"{pos} is not in a prompt of {length} tokens", where=where)
    return pos % length


def _token_flag(
    tokenizer: TokenizerBase, text: str | None, token_id: int | None, flag: str, *, quoted: bool
) -> int | None:
    if text is not None and token_id is not None:
        raise UsageError("give the token or its id, not both", where=f"{flag}, {flag}_id")
    if text is None:
        return token_id
    return single_token(tokenizer, _without_quotes(tokenizer, text, flag) if quoted else text, where=flag)


def _without_quotes(tokenizer: TokenizerBase, text: str, flag: str) -> str:
    """`text` without literal quotes around it, which a shell leaves of `\\" Austin\\"`; a token of quotes stays."""
    for quote in ('\\"', '"', "'"):
        inner = text.removeprefix(quote).removesuffix(quote)
        if inner and len(text) == len(inner) + 2 * len(quote):
            if len(encode_text(tokenizer, text, prepend_bos=False)) == 1:
                return text
            log.warning("%s: the quotes around %s are taken as quotes, not as part of the token", flag, text)
            return inner
    return text
