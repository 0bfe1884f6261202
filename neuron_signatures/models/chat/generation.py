"""Generation of a batch of answers, each with its own length, temperature and random numbers.

A sampled token is the one whose interval of the cumulative probabilities has the request's next random number in it.
The numbers depend on the request alone, so an answer does not depend on what else is in the batch, but for rounding:
a matrix product sums in another order in another batch (about 1e-6 of a logit in fp32, 1e-2 in bf16), which matters
where two tokens are that close. A batch of one is always the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

Finish = Literal["ended", "length", "not_finite", "stopped"]
"""Why an answer ends: an end token; its number of tokens; logits that are not finite numbers; the caller."""


@dataclass(frozen=True)
class Asked:
    """A prompt and how to go on. At temperature 0 the most probable token is taken."""

    token_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int
    n_logprobs: int = 0
    """Most probable candidates of each token to return, with their log probabilities at temperature 1."""


class Candidate(NamedTuple):
    token_id: int
    logprob: float


@dataclass
class Answered:
    """The tokens of an answer, without the end token."""

    token_ids: list[int] = field(default_factory=list)
    finish: Finish = "stopped"
    candidates: list[list[Candidate]] = field(default_factory=list)
    n_generated: int = 0
    """Tokens that were generated, the end token included."""


def never() -> bool:
    return False


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    asked: Sequence[Asked],
    ends: frozenset[int],
    device: torch.device,
    *,
    stop: Callable[[], bool] = never,
) -> list[Answered]:
    """An answer to each prompt, in order. `stop` is asked before each token, and ends all answers.

    Prompts are padded on the left and masked; a finished answer leaves the batch.
    """
    assert all(a.token_ids and a.max_tokens > 0 for a in asked)
    answers, random = [Answered() for _ in asked], [_random(a) for a in asked]
    rows = list(range(len(asked)))
    ids, mask = _padded([a.token_ids for a in asked], device)
    cache = None
    while rows and not stop():
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache, logits = out.past_key_values, out.logits[:, -1].float()
        chosen = choose(logits, [asked[r].temperature for r in rows], [random[r].random() for r in rows])
        finite = torch.isfinite(logits.amax(-1)).tolist()
        for i, r in enumerate(rows):
            _add(answers[r], asked[r], logits[i], int(chosen[i]) if finite[i] else None, ends)
        keep = [i for i, r in enumerate(rows) if answers[r].finish == "stopped"]
        if len(keep) < len(rows):
            rows = [rows[i] for i in keep]
            at = torch.tensor(keep, dtype=torch.long, device=device)
            chosen, mask = chosen[at], mask[at]
            if rows:
                cache.batch_select_indices(at)
        ids = chosen.unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return answers


def choose(
    logits: Float[Tensor, "row vocab"], temperatures: Sequence[float], uniform: Sequence[float]
) -> Int[Tensor, " row"]:
    """The next token of each row, from one uniform random number in [0, 1) per row."""
    greedy = logits.argmax(-1)
    if not any(temperatures):
        return greedy
    t = torch.tensor([t or 1.0 for t in temperatures], device=logits.device).unsqueeze(1)
    u = torch.tensor(uniform, dtype=torch.float32, device=logits.device).unsqueeze(1)
    cdf = (logits / t).softmax(-1).cumsum(-1)
    # the sum is not exactly 1; a number at or above it means the last token that has a probability
    last = (cdf < cdf[:, -1:]).sum(-1, keepdim=True)
    sampled = torch.searchsorted(cdf, u * cdf[:, -1:], right=True).minimum(last).squeeze(1)
    return torch.where(torch.tensor([t > 0 for t in temperatures], device=logits.device), sampled, greedy)


def _random(asked: Asked) -> np.random.Generator:
    """Random numbers of a request: from its seed and its prompt, so that equal seeds are not equal draws."""
    text = f"{asked.seed} {' '.join(map(str, asked.token_ids))}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask. What the padding is does not matter: it is masked, and never decoded."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask


def _add(
    answer: Answered, asked: Asked, logits: Float[Tensor, " vocab"], token: int | None, ends: frozenset[int]
) -> None:
    """Add the token, None if there is none, and say whether the answer ends with it."""
    if token is None:
        answer.finish = "not_finite"
        return
    answer.n_generated += 1
    if token in ends:
        answer.finish = "ended"
        return
    answer.token_ids.append(token)
    if asked.n_logprobs:
        top = logits.log_softmax(-1).topk(min(asked.n_logprobs, len(logits)))
        answer.candidates.append([Candidate(*c) for c in zip(top.indices.tolist(), top.values.tolist(), strict=True)])
    if len(answer.token_ids) >= asked.max_tokens:
        answer.finish = "length"
