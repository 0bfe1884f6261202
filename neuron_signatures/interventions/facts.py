"""What a model predicts, as records with the text of the tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import capped
from neuron_signatures.interventions.copies import predictions
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.intervention_records import Answer, Prediction
from neuron_signatures.runs.tokens import encodable

N_TOP = 5


def answers(model: LoadedModel, logits: Float[Tensor, " vocab"], token_ids: list[int]) -> list[Answer]:
    """These tokens in the prediction of the pre-cap `logits`."""
    probabilities = capped(unembedding(model.hf), logits).softmax(-1)
    texts = token_strings(model.tokenizer, token_ids)
    return [
        Answer(
            token_id=i,
            token=encodable(text),
            logit=float(logits[i]),
            probability=float(probabilities[i]),
            rank=int((logits > logits[i]).sum() + (logits[:i] == logits[i]).sum()),
        )
        for i, text in zip(token_ids, texts, strict=True)
    ]


def top_tokens(model: LoadedModel, logits: Float[Tensor, " vocab"], n: int = N_TOP) -> list[Answer]:
    """The most likely tokens, the first first."""
    order = torch.sort(logits, descending=True, stable=True).indices[:n]
    return answers(model, logits, [int(i) for i in order])


def prediction(
    model: LoadedModel,
    problem: Problem,
    logits: Float[Tensor, " vocab"],
    clean_logits: Float[Tensor, " vocab"],
) -> Prediction:
    """The prediction of pre-cap `logits` at the target position; `clean_logits` are those of the unedited model."""
    one = predictions(problem, logits[None], clean_logits)
    return Prediction(
        difference=float(one.difference[0]),
        logprob=float(one.logprob[0]),
        probability=float(one.probability[0]),
        rank=int(one.rank[0]),
        kl=float(one.kl[0]),
        top=top_tokens(model, logits),
    )
