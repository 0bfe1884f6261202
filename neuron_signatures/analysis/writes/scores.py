"""Scores of some neurons for every token: the highest, the lowest, and the moments over the vocabulary.

The unembedding is read in blocks, which are converted to float32 one at a time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.weights import at_least_float32

VOCAB_BLOCK: Final = 8192
_CHUNK: Final = 64  # the k highest of a row are in the k chunks with the highest maxima; must divide VOCAB_BLOCK


class TokenExtremes(NamedTuple):
    """Per neuron, the highest (side 0, descending) and lowest (side 1, ascending) scores, with their token ids.

    Equal scores are in order of id.
    """

    ids: Int[Tensor, "neuron 2 top"]
    scores: Float[Tensor, "neuron 2 top"]


class NeuronScores(NamedTuple):
    """`moments` are mean, standard deviation, skewness and excess kurtosis over the vocabulary, NaN if undefined."""

    extremes: TokenExtremes
    moments: Float[Tensor, "neuron 4"]


@torch.no_grad()
def mean_row(weight: Float[Tensor, "vocab d_model"]) -> Float[Tensor, " d_model"]:
    """The mean row of the unembedding, in float64."""
    total = sum(at_least_float32(rows).sum(0, dtype=torch.float64) for rows in weight.split(VOCAB_BLOCK))
    assert isinstance(total, Tensor)
    return total / len(weight)


@torch.no_grad()
def neuron_scores(
    directions: Float[Tensor, "neuron d_model"],
    weight: Float[Tensor, "vocab d_model"],
    mean: Float[Tensor, " d_model"],
    *,
    top: int,
) -> NeuronScores:
    """Scores direction · row of the unembedding; `mean` is its `mean_row`."""
    centre = directions.double() @ mean
    powers = torch.zeros(3, len(directions), dtype=torch.float64, device=directions.device)
    best: TokenExtremes | None = None
    for first in range(0, len(weight), VOCAB_BLOCK):
        scores = directions @ weight[first : first + VOCAB_BLOCK].to(directions.dtype).T
        found = _extremes(scores, first, top)
        best = found if best is None else _merged(best, found, top)
        powers += _central_powers(scores, centre)
    assert best is not None
    return NeuronScores(_in_order(best), _moments(centre, powers / len(weight)))


def _extremes(scores: Float[Tensor, "neuron token"], first: int, top: int) -> TokenExtremes:
    sides = [_highest(scores, top, largest=largest) for largest in (True, False)]
    return TokenExtremes(torch.stack([ids for ids, _ in sides], 1) + first, torch.stack([s for _, s in sides], 1))


def _highest(scores: Tensor, top: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Ids and values of the `top` highest (or lowest) of each row, in any order."""
    n, width = scores.shape
    if width % _CHUNK or width // _CHUNK <= top:
        values, ids = scores.topk(min(top, width), largest=largest, sorted=False)
        return ids, values
    chunks = scores.view(n, -1, _CHUNK)
    ends = chunks.amax(-1) if largest else chunks.amin(-1)
    chosen = ends.topk(top, largest=largest, sorted=False).indices[..., None]
    kept = chunks.gather(1, chosen.expand(-1, -1, _CHUNK)).flatten(1)
    values, at = kept.topk(top, largest=largest, sorted=False)
    return chosen[..., 0].gather(1, at // _CHUNK) * _CHUNK + at % _CHUNK, values


def _merged(one: TokenExtremes, two: TokenExtremes, top: int) -> TokenExtremes:
    ids, scores = torch.cat([one.ids, two.ids], -1), torch.cat([one.scores, two.scores], -1)
    keep = torch.stack([scores[:, side].topk(min(top, ids.shape[-1]), largest=side == 0).indices for side in (0, 1)], 1)
    return TokenExtremes(ids.gather(-1, keep), scores.gather(-1, keep))


def _in_order(found: TokenExtremes) -> TokenExtremes:
    by_id = found.ids.argsort(-1)
    ids, scores = found.ids.gather(-1, by_id), found.scores.gather(-1, by_id)
    order = torch.stack([scores[:, side].argsort(stable=True, dim=-1, descending=side == 0) for side in (0, 1)], 1)
    return TokenExtremes(ids.gather(-1, order), scores.gather(-1, order))


def _central_powers(scores: Float[Tensor, "neuron token"], centre: Float[Tensor, " neuron"]) -> Tensor:
    """Sums of the second, third and fourth powers of the differences from `centre`. Overwrites `scores`."""
    scores.sub_(centre[:, None].to(scores.dtype))
    squares = scores * scores
    second = squares.sum(1)
    third = scores.mul_(squares).sum(1)
    return torch.stack([second, third, squares.mul_(squares).sum(1)]).double()


def _moments(mean: Tensor, powers: Float[Tensor, "3 neuron"]) -> Float[Tensor, "neuron 4"]:
    variance, third, fourth = powers
    return torch.stack([mean, variance.sqrt(), third / variance**1.5, fourth / variance**2 - 3], 1)
