"""What the weights say about each neuron of a layer, and about random directions in the place of its output weights.

Universal neurons: arXiv 2401.12181. Entropy and token-frequency neurons: arXiv 2406.16254.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neuron_signatures.weights.model_weights import ModelWeights
from neuron_signatures.weights.readout import Readout

WRITE_COLUMNS: Final = (
    "logit_mean", "logit_variance", "logit_skewness", "logit_kurtosis", "norm_out", "null_share",
    "frequency_correlation",
)  # fmt: skip
"""What depends on the direction that is written alone: random directions have it too."""
PAIR_COLUMNS: Final = ("norm_in", "norm_gate", "cos_in_out", "cos_gate_out", "cos_in_gate")

_CPU_NEURONS: Final = 256
"""Neurons of a block on a CPU: their scores for a block of tokens stay in the cache."""
_GPU_NEURONS: Final = 8192
_ROWS_AT_ONCE: Final = 1024
"""Rows that are converted to float64 together."""


def _nothing(_: int) -> None: ...


@torch.no_grad()
def write_statistics(
    rows: Float[Tensor, "neuron d_model"], readout: Readout, advance: Callable[[int], None] = _nothing
) -> Float64[Tensor, "neuron column"]:
    """`WRITE_COLUMNS` of each direction, NaN where undefined (a direction of 0). `rows` becomes directions of length 1.

    `advance` is called with the number of scores of each block.
    """
    exact = []
    for part in rows.split(_ROWS_AT_ONCE):
        wide = part.double()
        norms = _norm(wide)
        weak = (wide @ readout.weakest.T).square().sum(1) / norms.square()
        exact.append(torch.column_stack([norms, weak, _frequency_correlation(wide, readout)]))
        part /= norms[:, None].to(part.dtype)
    return torch.cat([logit_moments(rows, readout, advance), torch.cat(exact)], 1)


@torch.no_grad()
def logit_moments(
    units: Float[Tensor, "neuron d_model"], readout: Readout, advance: Callable[[int], None] = _nothing
) -> Float64[Tensor, "neuron 4"]:
    """Mean, variance, skewness and Pearson's kurtosis over the vocabulary of the cosine with each direction.

    The mean is that of the rows, times the direction; the scores are centred before they are computed. Sums within a
    block of tokens are float32, over blocks float64.
    """
    at_once = _CPU_NEURONS if units.device.type == "cpu" else _GPU_NEURONS
    powers = torch.zeros(3, len(units), dtype=torch.float64, device=units.device)
    buffers: dict[tuple[int, int], list[Tensor]] = {}
    for tokens in readout.centred_units():
        for first in range(0, len(units), at_once):
            part = units[first : first + at_once]
            shape = (len(part), len(tokens))
            if shape not in buffers:  # new memory for each block takes longer than what is done with it
                buffers[shape] = [torch.empty(shape, dtype=units.dtype, device=units.device) for _ in range(3)]
            powers[:, first : first + at_once] += _central_powers(part, tokens, *buffers[shape])
            advance(len(part) * len(tokens))
    variance, third, fourth = powers / readout.n_tokens
    mean = torch.cat([part.double() @ readout.mean for part in units.split(_ROWS_AT_ONCE)])
    return torch.column_stack([mean, variance, third / variance**1.5, fourth / variance.square()])


@torch.no_grad()
def pair_statistics(weights: ModelWeights, layer: int) -> Float64[Tensor, "neuron column"]:
    """`PAIR_COLUMNS` of each neuron of a layer; those of a gate are NaN without one."""
    given = {kind: weights.directions(layer, kind) for kind in weights.kinds}
    parts = []
    for first in range(0, weights.shape.d_mlp, _ROWS_AT_ONCE):
        wide = {kind: rows[first : first + _ROWS_AT_ONCE].double() for kind, rows in given.items()}
        out, inp = wide["output"], wide["input"]
        gate = wide.get("gate", torch.full_like(inp, torch.nan))
        norms = _norm(inp), _norm(gate)
        parts.append(torch.column_stack([*norms, _cosine(inp, out), _cosine(gate, out), _cosine(inp, gate)]))
    return torch.cat(parts)


@torch.no_grad()
def random_directions(rows: Float[Tensor, "neuron d_model"], n: int, *, seed: int) -> Float[Tensor, "draw d_model"]:
    """Gaussian directions with the second moments of `rows` (sums of all rows with random weights), each as long as a
    random row."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n, len(rows), generator=generator, dtype=rows.dtype).to(rows.device)
    directions = mix @ rows
    lengths = _norm(rows)[torch.randint(len(rows), (n,), generator=generator).to(rows.device)]
    return directions * (lengths / _norm(directions))[:, None]


def _central_powers(part: Tensor, tokens: Tensor, x: Tensor, squares: Tensor, cubes: Tensor) -> Tensor:
    """Sums of the second, third and fourth powers of part · tokens; the last three are overwritten."""
    torch.mm(part, tokens.T, out=x)
    torch.mul(x, x, out=squares)
    torch.mul(x, squares, out=cubes)
    second, third = squares.sum(1), cubes.sum(1)
    return torch.stack([second, third, squares.square_().sum(1)]).double()


def _frequency_correlation(wide: Float64[Tensor, "neuron d_model"], readout: Readout) -> Float64[Tensor, " neuron"]:
    """NaN without counts."""
    found = readout.frequency
    if found is None:
        return torch.full_like(wide[:, 0], torch.nan)
    return wide @ found.along / ((wide @ found.covariance) * wide).sum(1).sqrt()


def _norm(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms


def _cosine(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).sum(1) / (_norm(one) * _norm(two))
