"""One amount: the prediction at the target position, the text that follows the prompt, and random controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import capped, pre_cap_logits
from neuron_signatures.analysis.validation.controls import ENOUGH
from neuron_signatures.interventions.controls import Outcome, null
from neuron_signatures.interventions.copies import predictions
from neuron_signatures.interventions.edits import Edit, fwd_hooks
from neuron_signatures.interventions.perplexity import perplexity
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.steer.request import SteerRequest
from neuron_signatures.interventions.steer.stimulus import Stimulus
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import Answer, Dose, Null, Prediction
from neuron_signatures.runs.result_records import Count, Record

N_TOP = 5
BAND_DRAWS = 100
"""Fewest control draws, if as many are asked for: the 5th and 95th percentile of fewer are rough."""


class MeasuredDose(Record):
    """A dose, with the value of the target function and the new tokens."""

    dose: Dose
    value: float
    new_ids: list[Count]


class Clean:
    """The unsteered model at the target position: what every amount is compared with."""

    def __init__(self, request: SteerRequest) -> None:
        self.hidden = final_hidden(request.session, request.checked.prompt.token_ids, (), request.resolved.target.pos)
        self.logits = pre_cap_logits(unembedding(request.checked.model.hf), self.hidden[None])[0]


def measure(request: SteerRequest, of: Stimulus, clean: Clean, alpha: float) -> MeasuredDose:
    """Measure one amount; 0 is the unsteered model, without any hook. Raises `UsageError` for infinite logits."""
    r, ids = request, list(request.checked.prompt.token_ids)
    problem = Problem(r.checked.model.hf, ids, r.resolved.target, r.positions)
    edits = of.edits(alpha, r.positions) if alpha else []
    hidden = final_hidden(r.session, ids, edits, r.resolved.target.pos) if alpha else clean.hidden
    if not bool(hidden.isfinite().all()):
        raise UsageError("the steered model's logits are not finite", where=f"amount {alpha:g}", next_step="Use less")
    prediction = predict(r.checked.model, problem, hidden, clean.logits)
    new = _generated(r, of, alpha)
    control = None
    if alpha and r.controls.n_random:
        effect = prediction.difference - predict(r.checked.model, problem, clean.hidden, clean.logits).difference
        drawn = of.random(alpha, np.random.default_rng(r.controls.seed))
        control = dose_null(of.what_is_random, effect, drawn, n=r.controls.n_random)
    dose = Dose(
        alpha=alpha,
        prediction=prediction,
        text=text_of(r.checked.model, ids, new),
        perplexity=perplexity(r.checked.model, [*ids, *new], first=len(ids)) if new else None,
        null=control,
    )
    return MeasuredDose(dose=dose, value=float(problem.value(hidden[None])[0]), new_ids=new)


@torch.no_grad()
def final_hidden(
    session: Session, token_ids: Sequence[int], edits: Sequence[Edit], pos: int
) -> Float[Tensor, " d_model"]:
    """The unembedding's input at `pos` with the edits, through the bridge."""
    seen: list[Tensor] = []

    def keep(x: Tensor, hook: Any) -> None:
        seen.append(x)

    ids = torch.tensor([list(token_ids)], device=session.model.device)
    hooks = [*fwd_hooks(edits), ("unembed.hook_in", keep)]
    with memory_faults(work_on(session.model.hf, "an edited forward pass", token_ids)):  # noqa: SIM117
        with session.bridge.hooks(fwd_hooks=hooks):
            session.bridge(ids)
    return seen[0][0, pos]


@torch.no_grad()
def predict(
    model: LoadedModel,
    problem: Problem,
    hidden: Float[Tensor, " d_model"],
    clean_logits: Float[Tensor, " vocab"],
) -> Prediction:
    """The prediction from the unembedding's input; `clean_logits` are pre-cap, of the unedited model."""
    head = unembedding(model.hf)
    logits = pre_cap_logits(head, hidden[None])
    p = predictions(problem, logits, clean_logits)
    likely = capped(head, logits)[0].softmax(-1)
    order = torch.sort(logits[0], descending=True, stable=True).indices[:N_TOP].tolist()
    names = token_strings(model.tokenizer, order)
    return Prediction(
        difference=float(p.difference[0]),
        logprob=float(p.logprob[0]),
        probability=float(p.probability[0]),
        rank=int(p.rank[0]),
        kl=max(0.0, float(p.kl[0])),  # rounding may make it negative
        top=[
            Answer(token_id=i, token=t, logit=float(logits[0, i]), probability=float(likely[i]), rank=rank)
            for rank, (i, t) in enumerate(zip(order, names, strict=True))
        ],
    )


def dose_null(what: str, observed: float, drawn: Iterator[Outcome], *, n: int) -> Null:
    """`observed` against at most `n` random effects, two-sided, with 100 draws or more if `n` allows.

    If 10 of the first 100 do as well, these 100 are all, and p is that of a fixed number of draws. Otherwise drawing
    goes on until 10 do as well (`controls.null`): for p below .1 the two rules are the same.
    """
    first = list(islice(drawn, min(n, BAND_DRAWS)))
    found = null(what, observed, first, n=len(first), two_sided=True, sequential=False)
    if found.exceeded >= ENOUGH or n <= BAND_DRAWS:
        return found
    return null(what, observed, chain(first, drawn), n=n, two_sided=True, sequential=True)


def _generated(request: SteerRequest, of: Stimulus, alpha: float) -> list[int]:
    """The new tokens. The edits hold at the request's positions and, if asked for, at every new one."""
    g, ids = request.generation, request.checked.prompt.token_ids
    if not g.max_new_tokens:
        return []
    new = range(len(ids), len(ids) + g.max_new_tokens) if g.at == "all" else range(0)
    edits = of.edits(alpha, (*request.positions, *new)) if alpha else []
    return request.session.generate(ids, edits, max_new_tokens=g.max_new_tokens, temperature=g.temperature, seed=g.seed)


def text_of(model: LoadedModel, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """The text of the new tokens as it continues the prompt: with its leading space."""

    def decoded(ids: Sequence[int]) -> str:
        return str(model.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    before, all_of_it = decoded(prompt_ids), decoded([*prompt_ids, *new_ids])
    if all_of_it.startswith(before):
        return all_of_it[len(before) :]
    return "".join(token_strings(model.tokenizer, new_ids))  # a character has bytes on both sides
