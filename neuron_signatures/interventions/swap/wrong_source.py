"""The control that could prove a swap wrong: the same search with another entity's prompt.

Its own answer should rise, and not the one of the right source.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.interventions.swap.pairs import Pair, Prompts, make_pair
from neuron_signatures.interventions.swap.select import Limits, greedy
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import WrongSource
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable

_AT_ONCE = 256


def wrong_pair(prompts: Prompts, pair: Pair, wrong: Prompt) -> Pair:
    """The destination of `pair` with the wrong source.

    Raises `UsageError` if the wrong source's answer is one of the pair's, or if it cannot be aligned.
    """
    other = make_pair(
        prompts, pair.destination.prompt, wrong, id="wrong", where="--wrong_source", roles=pair.roles,
        answers=(pair.destination_answer, None),
    )  # fmt: skip
    if other.source_answer == pair.source_answer:
        raise UsageError("it has the same answer as the source", where="--wrong_source")
    return other


def measure_wrong(prompts: Prompts, pair: Pair, wrong: Prompt, limits: Limits, k: int, bar: Bar) -> WrongSource:
    """Select cells for the wrong source as for the right one, and patch `k` of them (fewer if fewer help).

    Raises the errors of `wrong_pair`.
    """
    destination, other = pair.destination, wrong_pair(prompts, pair, wrong)
    path = greedy(other, limits, bar, at_least=k)
    n = min(k, len(path))
    before = destination.logits
    edits = other.patch(path.cells[:n]).edits()
    after = prompts.session.pre_cap_logits(destination.prompt.token_ids, pair.problem.target.pos, edits)
    change = (after - before).double()
    text = token_strings(prompts.session.model.tokenizer, [other.source_answer])[0]
    return WrongSource(
        text=encodable(wrong.text)[:1000],
        answer=encodable(text),
        k=n,
        difference=float(change[pair.source_answer] - change[pair.destination_answer]),
        own=float(change[other.source_answer] - change[pair.destination_answer]),
        source_logit=float(change[pair.source_answer]),
        own_logit=float(change[other.source_answer]),
        own_smallest_k=path.smallest(other.source_answer),
    )


@torch.no_grad()
def find_wrong(prompts: Prompts, pair: Pair, run: Run) -> Prompt | None:
    """The source with its entity replaced by a token of the run's prompts; None if none fits.

    Of the tokens after which the model's answer is neither answer of the pair and looks like them (a space and a
    capital letter, or not), the one whose answer is the most likely.
    """
    model, source = prompts.session.model, pair.source.prompt
    start, end = pair.alignment.n_shared, pair.alignment.source_entity + 1
    if end <= start:
        return None
    known = {*source.token_ids, *pair.destination.prompt.token_ids}
    names = {i: t for p in run.prompts for i, t in zip(p.token_ids, p.tokens, strict=True) if _is_name(t)}
    candidates = sorted(i for i in names if i not in known)
    best: tuple[float, list[int]] | None = None
    answers = {pair.source_answer, pair.destination_answer}
    as_names = all(map(_is_name, token_strings(model.tokenizer, sorted(answers))))
    for at in range(0, len(candidates), _AT_ONCE):
        texts = [[*source.token_ids[:start], c, *source.token_ids[end:]] for c in candidates[at : at + _AT_ONCE]]
        logits = model.hf(torch.tensor(texts, device=model.device), logits_to_keep=1).logits[:, -1].float()
        p, top = logits.softmax(-1).max(-1)
        for text, likely, answer in zip(texts, p.tolist(), top.tolist(), strict=True):
            fits = answer not in answers and _is_name(token_strings(model.tokenizer, [answer])[0]) == as_names
            if fits and (best is None or likely > best[0]):
                best = (likely, text)
    return None if best is None else _prompt(prompts, best[1], source.n_special)


def _prompt(prompts: Prompts, ids: Sequence[int], n_special: int) -> Prompt:
    tokens = token_strings(prompts.session.model.tokenizer, list(ids))
    return Prompt(None, "".join(tokens[n_special:]), tuple(ids), tuple(tokens), n_special)


def _is_name(token: str) -> bool:
    return len(token) > 1 and token[0] == " " and token[1].isupper()
