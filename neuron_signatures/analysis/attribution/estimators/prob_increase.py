"""Log-probability increase: what each neuron alone adds to the target's log probability (arXiv 2312.12141).

    Imp_i(x) = log p(t | h + x·v_i) - log p(t | h),   the score is Imp_i(a_i) - Imp_i(ā_i)

h is the residual stream that enters the neuron's MLP at the target position, a_i its activation, ā_i the reference and
v_i = g ⊙ W_out[i] its write, through the norm on the MLP's output if there is one (Gemma-2, Gemma-3; its scale is that
of this forward pass). p is the softmax of the model's final norm, with the scale of its own input, unembedding and soft
cap. All neurons of a layer at once, with c the centring of a LayerNorm (else the identity), w and b the weight and bias
of the final norm:

    z(h + x·v_i) = (c(h) ⊙ w + x·c(v_i) ⊙ w)·U / s_i + b·U + b_U
    s_i² = mean(c(h)²) + 2x·mean(c(h)·c(v_i)) + x²·mean(c(v_i)²) + eps

The scores of a layer do not sum to what its MLP adds to the log probability: the scale and the softmax are not linear.
Attention and later layers do not respond.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.estimators.layer_scores import LayerScores
from neuron_signatures.analysis.attribution.estimators.memory import with_memory_faults
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.norms import FrozenNorm, NormForm, centre, measure_epsilon, measure_norm
from neuron_signatures.models.residual import ResidualTrace, final_norm, trace_residual
from neuron_signatures.models.weights import Unembedding, at_least_float32, output_weight, unembedding
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf, silent

MAX_BYTES = 16 << 20
"""Of the logits of a layer's neurons that are computed at a time."""
READOUT_COPIES = 2
"""How many tensors of these logits exist at a time."""
_TOLERANCE = 1e-4
# What the forecast measures.
_TIMED_NEURONS, _TIMED_TOKENS = 256, 4096


class ProbIncrease(NamedTuple):
    """Scores of the neurons of `layers` at the target position, float32 on the CPU.

    `zero` are Imp(a); `centred` are Imp(a) - Imp(ā), NaN without a reference or where it is NaN. `log_p` is
    log p(t | h) of each layer; with a foil, the difference of the two log probabilities, as in the scores.
    """

    layers: tuple[int, ...]
    acts: Float[Tensor, "layer neuron"]
    zero: Float[Tensor, "layer neuron"]
    centred: Float[Tensor, "layer neuron"]
    log_p: tuple[float, ...]


@with_memory_faults("prob_increase")
@torch.no_grad()
def prob_increase(
    problem: Problem,
    *,
    reference: Float[Tensor, "model_layer neuron"] | None = None,
    layers: Sequence[int] | None = None,
    max_bytes: int = MAX_BYTES,
    partial: Partial | None = None,
    progress: ProgressOf = silent,
) -> ProbIncrease:
    """The log-probability increase of every neuron of `layers` (None: all) at the target position.

    `reference` are activations at that position. `target.function` is ignored. `partial` stores the finished layers, so
    that an interrupted computation can resume; None stores nothing.
    """
    hf, target = problem.hf, problem.target
    trace = trace_residual(hf, problem.token_ids, target.pos)
    readout = Readout.of(hf, trace, target, max_bytes)
    projections = output_projections(hf)
    chosen = tuple(range(len(projections)) if layers is None else layers)
    found = LayerScores(len(chosen), trace.acts.shape[1], partial)
    found.resume()
    with progress("layers", len(chosen)) as bar, found.save_on_error():
        bar.skip(int(found.done.sum()))
        for row, layer in enumerate(chosen):
            if found.done[row]:
                continue
            writes = writes_of(projections[layer], trace.post_mlp[layer], trace.final)
            held = None if reference is None or bool(reference[layer].isnan().all()) else reference[layer]
            found.add(row, *_increases(readout, trace.mlp_input[layer], writes, trace.acts[layer], held))
            bar.advance(1)
    zero, centred = found.scores()
    return ProbIncrease(chosen, trace.acts[list(chosen)].float().cpu(), zero, centred, tuple(found.of_layer.tolist()))


@torch.no_grad()
def seconds_of_readout(problem: Problem) -> float:
    """Seconds for the logits and the log-sum-exps of one neuron, at its activation and at a reference; from random
    writes of the model's size."""
    head, target = unembedding(problem.hf), problem.target
    width, vocab = head.weight.shape[1], len(head.weight)
    part = head._replace(weight=head.weight[:_TIMED_TOKENS], bias=None)
    ones = torch.ones(width, device=head.weight.device)
    readout = Readout(NormForm(False, ones, 0 * ones), 1e-6, part, replace(target, token_id=0, foil_id=None), MAX_BYTES)
    writes = torch.randn(_TIMED_NEURONS, width, generator=torch.Generator().manual_seed(0)).to(ones)
    amounts = torch.ones(2, _TIMED_NEURONS).to(ones)
    seconds = []
    for _ in range(3):  # the first one also prepares kernels
        start = time.perf_counter()
        readout.values(ones, writes, amounts).cpu()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 0.0 if target.foil_id is not None else min(seconds) / _TIMED_NEURONS * vocab / len(part.weight)


def writes_of(projection: nn.Module, norm: FrozenNorm | None, like: Tensor) -> Float[Tensor, "neuron d_model"]:
    """What each neuron of a layer adds to the residual stream per unit of activation."""
    weight = output_weight(projection).to(like.device)
    return weight if norm is None else norm.linear(weight)


def _increases(
    readout: Readout,
    stream: Float[Tensor, " d_model"],
    writes: Float[Tensor, "neuron d_model"],
    acts: Float[Tensor, " neuron"],
    held: Float[Tensor, " neuron"] | None,
) -> tuple[Float[Tensor, "2 neuron"], float]:
    """Imp(a) and Imp(a) - Imp(ā) of one layer, and log p(t | h). A row of zeros is added to the writes for it."""
    amounts = [acts] if held is None else [acts, held.to(acts)]
    writes = torch.cat([writes, torch.zeros_like(writes[:1])])
    values = readout.values(stream, writes, torch.stack([torch.cat([a, a.new_zeros(1)]) for a in amounts]))
    before, values = values[0, -1], values[:, :-1].to(acts)
    zero = torch.where(acts == 0, 0.0, values[0] - before.to(acts))
    centred = torch.full_like(zero, torch.nan)
    if held is not None:
        centred = torch.where(acts == amounts[1], 0.0, values[0] - values[1])
    return torch.stack([zero, centred]), float(before)


@dataclass(frozen=True)
class Readout:
    """From the residual stream to the target's log probability (minus the foil's), in float32 or wider."""

    form: NormForm
    eps: float
    head: Unembedding
    target: Target
    max_bytes: int

    @classmethod
    def of(cls, hf: PreTrainedModel, trace: ResidualTrace, target: Target, max_bytes: int) -> Readout:
        """Raises `UsageError` if the final norm's scale is not the root of a mean square."""
        norm = final_norm(hf)
        form = measure_norm(norm, len(trace.final))
        readout = cls(form, measure_epsilon(norm, form), unembedding(hf), target, max_bytes)
        scale = readout._scale(trace.final, trace.final.new_zeros(1, len(trace.final)), trace.final.new_zeros(1, 1))
        if abs(float(scale * trace.final_norm.inverse_scale) - 1) > _TOLERANCE:
            raise UsageError("its scale is not the root of a mean square", where=type(norm).__name__)
        return readout

    def values(
        self,
        stream: Float[Tensor, " d_model"],
        writes: Float[Tensor, "write d_model"],
        amounts: Float[Tensor, "amount write"],
    ) -> Float[Tensor, "amount write"]:
        """log p(target) - log p(foil), or log p(target) without a foil, of stream + amount · write."""
        scale = self._scale(stream, writes, amounts).to(self.head.weight.device)
        read, written = (self.form.unscaled(x.to(self.form.weight)).to(scale) for x in (stream, writes))
        amounts = amounts.to(scale)
        own = self._part(self.target.token_ids, read, written, None)
        found = torch.stack([own.at(x, s).clone() for x, s in zip(amounts, scale, strict=True)])
        if self.target.foil_id is not None:
            return found[..., 0] - found[..., 1]
        vocab = len(self.head.weight)
        at_once = min(vocab, max(1, self.max_bytes // (len(writes) * scale.element_size())))
        buffers = scale.new_empty(2, len(writes) * at_once)  # allocated once: fresh memory costs as much as the product
        total = torch.full_like(scale, -math.inf)
        for first in range(0, vocab, at_once):
            part = self._part(slice(first, first + at_once), read, written, buffers)
            for i, (x, s) in enumerate(zip(amounts, scale, strict=True)):
                total[i] = torch.logaddexp(total[i], _log_sum_exp(part.at(x, s)))
        return found[..., 0] - total

    def _part(self, tokens: list[int] | slice, read: Tensor, written: Tensor, buffers: Tensor | None) -> _Logits:
        """Products with the unembedding rows of some tokens, in the first of `buffers` (None: in new memory)."""
        rows = at_least_float32(self.head.weight[tokens])
        constant = rows @ self.form.bias.to(rows)
        if self.head.bias is not None:
            constant += at_least_float32(self.head.bias[tokens])
        shape = len(written), len(rows)
        product, out = (
            written.new_empty(2, *shape) if buffers is None else (b[: shape[0] * shape[1]].view(shape) for b in buffers)
        )
        torch.mm(written.to(rows), rows.T, out=product)
        return _Logits(rows @ read.to(rows), product, constant, out, self.head.soft_cap)

    def _scale(self, stream: Tensor, writes: Tensor, amounts: Tensor) -> Float[Tensor, "amount write"]:
        h, v = (centre(x) if self.form.centred else x for x in (stream, writes.to(stream)))
        square = h.square().mean() + 2 * amounts * (v @ h) / len(h) + amounts.square() * v.square().mean(-1)
        return (square + self.eps).sqrt()


class _Logits(NamedTuple):
    """Products of some tokens' unembedding rows with the stream and with every write."""

    stream: Float[Tensor, " token"]
    writes: Float[Tensor, "write token"]
    constant: Float[Tensor, " token"]
    out: Float[Tensor, "write token"]
    soft_cap: float | None

    def at(self, amounts: Float[Tensor, " write"], scale: Float[Tensor, " write"]) -> Float[Tensor, "write token"]:
        """The model's logits of stream + amount · write, in `out`."""
        logits = torch.mul(self.writes, (amounts / scale)[:, None], out=self.out)
        logits.addr_(1 / scale, self.stream).add_(self.constant)
        cap = self.soft_cap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def _log_sum_exp(logits: Float[Tensor, "write token"]) -> Float[Tensor, " write"]:
    """log Σ exp over the tokens; the logits are overwritten."""
    most = logits.amax(-1)
    return logits.sub_(most[:, None]).exp_().sum(-1).log_().add_(most)
