"""One amount: the prediction at the target position, the text that follows the prompt, and random controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.controls import ENOUGH
from neuron_signatures.interventions.controls.nulls import Outcome, null
from neuron_signatures.interventions.copies import predictions
from neuron_signatures.interventions.facts import prediction
from neuron_signatures.interventions.side_effects.perplexity import perplexity
from neuron_signatures.interventions.steer.request import SteerRequest
from neuron_signatures.interventions.steer.stimulus import Stimulus
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import Dose, Null
from neuron_signatures.runs.result_records import Count, Record

BAND_DRAWS = 100
"""Fewest control draws, if as many are asked for: the 5th and 95th percentile of fewer are rough."""


class MeasuredDose(Record):
    """A dose, with the value of the target function and the new tokens."""

    dose: Dose
    value: float
    new_ids: list[Count]


def measure(request: SteerRequest, of: Stimulus, clean_logits: Float[Tensor, " vocab"], alpha: float) -> MeasuredDose:
    """Measure one amount; 0 is the unsteered model, without any hook.

    `clean_logits` are the pre-cap logits of the unsteered model at the target position (`clean_logits_of`). Raises
    `UsageError` for infinite logits.
    """
    r, ids = request, list(request.checked.prompt.token_ids)
    model, pos = r.checked.model, r.resolved.target.pos
    problem = Problem(model.hf, ids, r.resolved.target, r.positions)
    logits = r.session.pre_cap_logits(ids, pos, of.edits(alpha, r.positions)) if alpha else clean_logits
    if not bool(logits.isfinite().all()):
        raise UsageError("the steered model's logits are not finite", where=f"amount {alpha:g}", next_step="Use less")
    found = prediction(model, problem, logits, clean_logits)
    value = float(predictions(problem, logits[None], clean_logits).value[0])
    new = _generated(r, of, alpha)
    control = None
    if alpha and r.controls.n_random:
        effect = value - float(predictions(problem, clean_logits[None], clean_logits).value[0])
        drawn = of.random(alpha, np.random.default_rng(r.controls.seed))
        control = dose_null(of.what_is_random, effect, drawn, n=r.controls.n_random)
    dose = Dose(
        alpha=alpha,
        prediction=found,
        text=text_of(model, ids, new),
        perplexity=perplexity(model, [*ids, *new], first=len(ids)) if new else None,
        null=control,
    )
    return MeasuredDose(dose=dose, value=value, new_ids=new)


def clean_logits_of(request: SteerRequest) -> Float[Tensor, " vocab"]:
    """The pre-cap logits of the unsteered model at the target position, through the bridge."""
    return request.session.pre_cap_logits(request.checked.prompt.token_ids, request.resolved.target.pos)


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
