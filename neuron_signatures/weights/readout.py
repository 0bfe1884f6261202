"""The unembedding as the statistics read it: W_U' = W_U with the final norm's weight, centred for a LayerNorm.

It is read in blocks of tokens, which are converted to float32 one at a time. A token whose row is 0 has no direction
and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuron_signatures.models.norms import NormForm
from neuron_signatures.models.weights import at_least_float32

TOKENS: Final = 2048
"""Tokens of a block."""
WEAK_SHARE: Final = 0.02
"""Share of the singular directions of W_U' that count as its weakest."""


class TokenCounts(NamedTuple):
    """How often the corpus has each of these tokens (at least once)."""

    ids: Int[Tensor, " token"]
    counts: Int[Tensor, " token"]


class Frequency(NamedTuple):
    """What a direction w needs for its correlation with the logarithm of the counts, over the counted tokens.

    `covariance` of the rows of W_U', and `along`: the covariance of the rows with the standardised logarithms.
    """

    along: Float[Tensor, " d_model"]
    covariance: Float[Tensor, "d_model d_model"]


@dataclass(frozen=True)
class Readout:
    """`mean` is that of the rows of W_U' at unit length, `weakest` the weakest right singular directions of W_U'."""

    weight: Float[Tensor, "vocab d_model"]
    form: NormForm
    n_tokens: int
    mean: Float[Tensor, " d_model"]
    weakest: Float[Tensor, "weak d_model"]
    frequency: Frequency | None

    def centred_units(self) -> Iterator[Float[Tensor, "token d_model"]]:
        """Rows of W_U' at unit length less their mean, in blocks; 0 for a token without a direction."""
        mean = self.mean.to(torch.promote_types(self.weight.dtype, torch.float32))
        for rows in self.weight.split(TOKENS):
            folded = _folded(rows, self.form)
            norms = torch.linalg.vector_norm(folded, dim=1, keepdim=True)
            yield folded.div_(norms).sub_(mean).masked_fill_(norms == 0, 0)


@torch.no_grad()
def make_readout(
    weight: Float[Tensor, "vocab d_model"], form: NormForm, counts: TokenCounts | None,
    advance: Callable[[int], None] = lambda n: None,
) -> Readout:  # fmt: skip
    """Reads the unembedding once; `advance` is called with the number of tokens of each block."""
    form = NormForm(form.centred, form.weight.to(weight.device), form.bias.to(weight.device))
    d_model, device = weight.shape[1], weight.device
    gram = torch.zeros(d_model, d_model, dtype=torch.float64, device=device)
    total, n_tokens = torch.zeros(d_model, dtype=torch.float64, device=device), 0
    for rows in weight.split(TOKENS):
        folded = _folded(rows, form)
        norms = torch.linalg.vector_norm(folded, dim=1)
        some = norms > 0
        total += (folded[some] / norms[some, None]).sum(0, dtype=torch.float64)
        n_tokens += int(some.sum())
        folded = folded.double()
        gram.addmm_(folded.T, folded)
        advance(len(rows))
    frequency = None if counts is None else _frequency(weight, form, counts)
    return Readout(weight, form, n_tokens, total / n_tokens, _weakest(gram, form), frequency)


def n_weakest(rank: int) -> int:
    """How many singular directions are the weakest: 2 %, at least one."""
    return max(1, round(WEAK_SHARE * rank))


def _folded(rows: Tensor, form: NormForm) -> Tensor:
    return form.read_by(at_least_float32(rows))


def _weakest(gram: Float[Tensor, "d_model d_model"], form: NormForm) -> Float[Tensor, "weak d_model"]:
    """Without the direction that centring removes: nothing is written there."""
    skipped = 1 if form.centred else 0
    vectors: Tensor = torch.linalg.eigh(gram).eigenvectors
    return vectors[:, skipped : skipped + n_weakest(len(gram) - skipped)].T.contiguous()


def _frequency(weight: Tensor, form: NormForm, counts: TokenCounts) -> Frequency:
    ids, n = counts.ids.to(weight.device), len(counts.ids)
    logs = counts.counts.to(weight.device).double().log()
    z = (logs - logs.mean()) / logs.std(correction=0)
    d_model = weight.shape[1]
    mean = torch.zeros(d_model, dtype=torch.float64, device=weight.device)
    along, gram = torch.zeros_like(mean), torch.zeros(d_model, d_model, dtype=torch.float64, device=weight.device)
    for part, values in zip(ids.split(TOKENS), z.split(TOKENS), strict=True):
        folded = _folded(weight[part], form).double()
        mean += folded.sum(0) / n
        along += values @ folded / n
        gram.addmm_(folded.T, folded, alpha=1 / n)
    return Frequency(along, gram - mean[:, None] * mean)
