"""The tokens that neurons promote: their output directions through the unembedding, and whether they say something.

A direction says something if its scores are more peaked over the vocabulary than those of random directions with the
second moments of the layer's output weights: most neurons of early layers promote nothing in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.writes.scores import mean_row, neuron_scores
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.write_path import WritePath, write_path
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable, visible
from neuron_signatures.weights.statistics import random_directions

TOP: Final = 5
N_RANDOM: Final = 100
QUANTILE: Final = 0.95
_VOCAB_SAMPLE: Final = 8192
"""Tokens, evenly over the vocabulary, on which the comparison with random directions is made, of both sides."""

SignedNeuron = tuple[int, int, int]
"""Layer, neuron, and the sign of its change from the reference."""


class Promoted(NamedTuple):
    """Raw tokens, the most promoted first."""

    tokens: tuple[str, ...]
    is_clear: bool
    """Whether they are more than a random direction has."""


class WriteSide:
    """The output side of a model. Made once; the shortest prompt of the run shows which norms there are."""

    def __init__(self, run: Run, model: LoadedModel, *, seed: int = 0) -> None:
        self._tokenizer = model.tokenizer
        self._path: WritePath = write_path(model.hf, min((list(p.token_ids) for p in run.prompts), key=len))
        weight = self._path.head.weight
        self._mean = mean_row(weight)
        self._sample = weight[:: max(1, len(weight) // _VOCAB_SAMPLE)].float()
        self._seed = seed

    def of(self, neurons: Sequence[SignedNeuron], *, top: int = TOP) -> list[Promoted]:
        """The `top` tokens of each neuron with its sign."""
        out = [Promoted((), False)] * len(neurons)
        for layer in sorted({layer for layer, *_ in neurons}):
            own = [i for i, neuron in enumerate(neurons) if neuron[0] == layer]
            directions = self._directions(layer, [neurons[i] for i in own])
            found = neuron_scores(directions, self._path.head.weight, self._mean, top=top)
            limit = _kurtosis(self._standardised(self._random(layer, N_RANDOM))).quantile(QUANTILE)
            clear = (_kurtosis(self._standardised(directions)) > limit).tolist()
            for i, ids, is_clear in zip(own, found.extremes.ids[:, 0].tolist(), clear, strict=True):
                out[i] = Promoted(tuple(token_strings(self._tokenizer, ids)), is_clear)
        return out

    @torch.no_grad()
    def together(self, neurons: Sequence[SignedNeuron], changes: Sequence[float], *, top: int = TOP) -> Promoted:
        """The tokens that a group promotes: of the sum of its neurons' directions times the sizes |a - ā| of their
        `changes`, all at one position. Norms on the outputs of MLPs count without their scales.

        Clear if the largest score, standardised over the vocabulary, is higher than that of 95 % of sums of random
        directions of the same layers and lengths.
        """
        if not neurons:
            return Promoted((), False)
        own: Tensor | float = 0.0
        null: Tensor | float = 0.0
        for i, (neuron, change) in enumerate(zip(neurons, changes, strict=True)):
            direction = self._directions(neuron[0], [neuron])
            drawn = self._random(neuron[0], N_RANDOM, seed=1 + i)
            lengths = torch.linalg.vector_norm(drawn, dim=1, keepdim=True).clamp_min(1e-12)
            own = own + abs(change) * direction
            null = null + abs(change) * drawn / lengths * torch.linalg.vector_norm(direction)
        assert isinstance(own, Tensor) and isinstance(null, Tensor)
        ids = (own.float() @ self._path.head.weight.float().T)[0].topk(top).indices.tolist()
        limit = self._standardised(null).amax(1).quantile(QUANTILE)
        tokens = tuple(token_strings(self._tokenizer, ids))
        return Promoted(tokens, bool(self._standardised(own).max() > limit))

    @torch.no_grad()
    def _directions(self, layer: int, neurons: Sequence[SignedNeuron]) -> Float[Tensor, "neuron d_model"]:
        rows = self._path.rows(layer)[[neuron for _, neuron, _ in neurons]]
        signs = torch.tensor([1.0 if sign >= 0 else -1.0 for *_, sign in neurons]).to(rows)
        return self._path.directions(layer, rows * signs[:, None])

    @torch.no_grad()
    def _random(self, layer: int, n: int, *, seed: int = 0) -> Float[Tensor, "draw d_model"]:
        drawn = random_directions(self._path.rows(layer), n, seed=self._seed + (seed << 16) + layer)
        return self._path.directions(layer, drawn)

    @torch.no_grad()
    def _standardised(self, directions: Float[Tensor, "neuron d_model"]) -> Float[Tensor, "neuron token"]:
        """Scores less their mean over the tokens, by their standard deviation."""
        scores = directions.float() @ self._sample.T
        scores = scores - scores.mean(1, keepdim=True)
        return scores / scores.std(1, keepdim=True).clamp_min(1e-12)


def shown_list(tokens: Sequence[str]) -> str:
    """Tokens with visible edges: `·Austin, ·Texas`."""
    return ", ".join(visible(encodable(token)) for token in tokens)


def _kurtosis(standardised: Float[Tensor, "neuron token"]) -> Float[Tensor, " neuron"]:
    return (standardised**4).mean(1)
