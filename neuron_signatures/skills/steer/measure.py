"""What changed units do to the log probability of texts: many changes in one forward pass, one per row.

Per text the mean over its tokens from the third on of log p (nats), since the first token is not predicted and the
second is predicted from the first position, which is never changed. On neutral texts also KL(clean ‖ changed) at those
positions, over the whole vocabulary. Layers before the changed one are run once, for the unchanged model.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from neuron_signatures.models.batching import BatchSize, run_in_passes, work_on
from neuron_signatures.models.capture import Batch, backbone, decoder_layers, pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.site_edits import layers_return, site_edited
from neuron_signatures.models.sites import Place
from neuron_signatures.models.weights import unembedding
from neuron_signatures.skills.steer.edits import BankWeights, Change, RowChanges
from neuron_signatures.skills.steer.texts import NeutralTexts

_MAX_LOGITS = (1 << 27, 1 << 20)
"""Logits that are computed at a time on a GPU, 512 MiB in float32, and on a CPU, where 4 MiB fit into the cache."""


class Response(NamedTuple):
    """What one change does. NaN where the changed model's logits are not finite.

    `texts` is the change of the mean log probability of each text. `kl` is the mean over the neutral texts' positions,
    `perplexity_ratio` that of the neutral prose, changed to clean; both NaN without neutral texts.
    """

    texts: Float64[np.ndarray, " text"]
    kl: float
    perplexity_ratio: float
    tokens: Float64[np.ndarray, "text set"] | None = None
    """Change of the log probability that the next token is one of each set, mean over the same positions; None without
    sets."""


class _Clean(NamedTuple):
    """What the unchanged model predicts at each position: probabilities, and their entropy in nats."""

    probabilities: Float[Tensor, "n vocab"]
    entropy: Float[Tensor, " n"]


class _Below(NamedTuple):
    """The first `n_layers` layers are not run: they return `out`, None if there are none."""

    n_layers: int
    out: Tensor | None


@dataclass(eq=False)
class _Chunk:
    """Texts of about one length, `at` their indices, and what the unchanged model does on them."""

    at: list[int]
    batch: Batch
    lengths: Int[Tensor, " text"]
    size: BatchSize
    clean: _Clean | None
    """Of neutral texts."""
    logprobs: Tensor
    masses: Tensor
    below: _Below | None = None


class Measure:
    """Measures changes on texts with up to `rows` rows (a text with a change) per forward pass. The model should be in
    float32."""

    def __init__(
        self, model: LoadedModel, texts: Sequence[Sequence[int]], neutral: NeutralTexts | None, *, rows: int,
        token_sets: Sequence[Sequence[int]] = (),
    ) -> None:  # fmt: skip
        self._sets = [torch.tensor(ids, device=unembedding(model.hf).weight.device) for ids in token_sets]
        self._hf, self._head = model.hf, unembedding(model.hf)
        self._device = model.device
        self._n_texts, self._neutral = len(texts), neutral
        self._ids = [list(ids) for ids in texts]
        extra = [] if neutral is None else [*map(list, neutral.prompts), list(neutral.prose)]
        self._chunks = [
            *self._chunked(range(len(texts)), rows, neutral=False),
            *self._chunked_neutral(extra, rows),
        ]

    @torch.no_grad()
    def responses(self, weights: BankWeights, changes: Sequence[Change]) -> list[Response]:
        """One per change; all are of one bank and kind. Raises `EnvironmentProblem` if one row does not fit."""
        n = len(self._ids)
        logprob, kl = np.full((len(changes), n), np.nan), np.full((len(changes), n), np.nan)
        tokens = np.full((len(changes), n, len(self._sets)), np.nan)
        current: list[RowChanges] = []
        with site_edited(self._hf, weights.place, lambda values, first: _changed(current, values, first)):
            for chunk in self._chunks:
                done = 0
                for found in self._of_chunk(chunk, weights, changes, current):
                    rows = slice(done, done + len(found[0]))
                    logprob[rows, chunk.at] = found[0]
                    kl[rows, chunk.at] = found[1]
                    tokens[rows, chunk.at] = found[2]
                    done = rows.stop
        return [self._response(logprob[i], kl[i], tokens[i]) for i in range(len(changes))]

    def clean(self) -> Float64[np.ndarray, " text"]:
        """Mean log probability of each text in the unchanged model."""
        means = np.empty(len(self._ids))
        for chunk in self._chunks:
            means[chunk.at] = _means(chunk.logprobs, chunk.lengths).numpy()
        return means[: self._n_texts]

    def _response(self, change: np.ndarray, kl: np.ndarray, tokens: np.ndarray) -> Response:
        texts = change[: self._n_texts]
        of_sets = tokens[: self._n_texts] if self._sets else None
        if self._neutral is None:
            return Response(texts, math.nan, math.nan, of_sets)
        tokens = np.array([len(ids) - 2 for ids in self._ids[self._n_texts :]])
        with np.errstate(invalid="ignore"):
            mean_kl = float((kl[self._n_texts :] * tokens).sum() / tokens.sum())
        ratio = math.exp(min(-float(change[-1]), math.log(sys.float_info.max))) if np.isfinite(change[-1]) else math.nan
        return Response(texts, mean_kl, ratio, of_sets)

    def _chunked_neutral(self, extra: list[list[int]], rows: int) -> Iterator[_Chunk]:
        first = len(self._ids)
        self._ids += extra
        yield from self._chunked(range(first, len(self._ids)), rows, neutral=True)

    def _chunked(self, at: Sequence[int], rows: int, *, neutral: bool) -> Iterator[_Chunk]:
        """Texts in order of length, so that little is padded; a quarter of the rows, so that changes share a pass."""
        order, most = sorted(at, key=lambda i: len(self._ids[i])), max(1, rows // 4)
        for start in range(0, len(order), most):
            part = order[start : start + most]
            batch = pad_batch([self._ids[i] for i in part], device=self._device)
            lengths = torch.tensor([len(self._ids[i]) for i in part])
            hidden = self._forward(batch.input_ids, batch.attention_mask)
            size = BatchSize(max(1, rows // len(part)))
            chunk = _Chunk(part, batch, lengths, size, self._clean(hidden) if neutral else None, torch.empty(0),
                           torch.empty(0))  # fmt: skip
            logprobs, _, masses = self._read(chunk, hidden, 1)
            chunk.logprobs, chunk.masses = logprobs[0], masses[:, 0]
            yield chunk

    def _of_chunk(
        self, chunk: _Chunk, weights: BankWeights, changes: Sequence[Change], current: list[RowChanges]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Change of the log probability, KL, and change of each set, by change and text; some changes at a time."""

        below = self._below(chunk, weights.place)

        def one_pass(some: list[Change]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            current[:] = [RowChanges(weights, some).repeated(len(chunk.at))]
            try:
                hidden = self._edited(chunk, below, len(some))
            finally:
                current.clear()
            logprobs, kl, masses = self._read(chunk, hidden, len(some))
            change = _means(logprobs - chunk.logprobs, chunk.lengths)
            change[~logprobs_finite(logprobs, chunk.lengths)] = math.nan
            sets = [_means(now - before, chunk.lengths) for now, before in zip(masses, chunk.masses, strict=True)]
            of_sets = torch.stack(sets, -1) if sets else change.new_empty((*change.shape, 0))
            return change.numpy(), _means(kl, chunk.lengths).numpy(), of_sets.numpy()

        work = work_on(self._hf, "steered texts", self._ids[chunk.at[-1]])
        yield from run_in_passes(one_pass, changes, size=chunk.size, unit="changes", work=work)

    def _edited(self, chunk: _Chunk, below: _Below, times: int) -> Tensor:
        ids = chunk.batch.input_ids.repeat(times, 1)
        mask = None if chunk.batch.attention_mask is None else chunk.batch.attention_mask.repeat(times, 1)
        with contextlib.ExitStack() as stack:
            if below.out is not None:
                layers = decoder_layers(self._hf)[: below.n_layers]
                stack.enter_context(layers_return(layers, below.out.repeat(times, 1, 1)))
            return self._forward(ids, mask)

    def _below(self, chunk: _Chunk, place: Place) -> _Below:
        """The clean output of the layers that are not run; kept for one number of layers at a time."""
        n_layers = place.layer + (place.site == "res")
        if chunk.below is None or chunk.below.n_layers != n_layers:
            chunk.below = _Below(n_layers, self._output(chunk, n_layers - 1) if n_layers else None)
        return chunk.below

    def _output(self, chunk: _Chunk, layer: int) -> Tensor:
        """The clean output of a layer."""
        seen: list[Tensor] = []

        def keep(_: Any, __: Any, out: Any) -> None:
            seen.append(out[0] if isinstance(out, tuple) else out)

        handle = decoder_layers(self._hf)[layer].register_forward_hook(keep)
        try:
            self._forward(chunk.batch.input_ids, chunk.batch.attention_mask)
        finally:
            handle.remove()
        return seen[0]

    @torch.no_grad()
    def _forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Input of the unembedding at the positions that predict a token that counts."""
        out = backbone(self._hf)(input_ids=ids, attention_mask=mask, use_cache=False)
        hidden: Tensor = out.last_hidden_state[:, 1:-1]
        return hidden

    @torch.no_grad()
    def _read(self, chunk: _Chunk, hidden: Tensor, times: int) -> tuple[Tensor, Tensor, Tensor]:
        """log p of each token that counts and KL(clean ‖ changed) before it, `[change text pos]`, and log p of each set
        there, `[set change text pos]`; float32 on the CPU.

        KL is computed for neutral texts only, 0 elsewhere.
        """
        after = chunk.batch.input_ids[:, 2:].repeat(times, 1).reshape(-1, 1)
        flat = hidden.reshape(-1, hidden.shape[-1])
        at_once = max(1, _MAX_LOGITS[self._device.type == "cpu"] // self._head.weight.shape[0])
        logprobs, kls, masses = [], [], list[Tensor]()
        for start in range(0, len(flat), at_once):
            rows = torch.arange(start, min(start + at_once, len(flat)), device=flat.device)
            logits = self._logits(flat[rows])
            total = logits.logsumexp(-1)
            logprobs.append(logits.gather(-1, after[rows].to(logits.device))[:, 0] - total)
            if self._sets:
                masses.append(torch.stack([logits[:, ids].logsumexp(-1) - total for ids in self._sets]))
            if chunk.clean is not None:
                before, entropy = (x[rows % len(x)] for x in chunk.clean)
                kls.append(total - (before * logits).sum(-1) - entropy)
        shape = (times, len(chunk.at), hidden.shape[1])
        found = torch.cat(logprobs).cpu().reshape(shape)
        of_sets = torch.cat(masses, -1).cpu().reshape(-1, *shape) if masses else torch.empty(0, *shape)
        return found, torch.cat(kls).cpu().reshape(shape) if kls else torch.zeros(shape), of_sets

    @torch.no_grad()
    def _clean(self, hidden: Tensor) -> _Clean:
        logprobs = self._logits(hidden.reshape(-1, hidden.shape[-1])).log_softmax(-1)
        probabilities = logprobs.exp()
        return _Clean(probabilities, -(probabilities * logprobs).sum(-1))

    def _logits(self, hidden: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """The model's logits, in float32."""
        head = self._head
        bias = None if head.bias is None else head.bias.float()
        logits = torch.nn.functional.linear(hidden.float().to(head.weight.device), head.weight.float(), bias)
        return logits if head.soft_cap is None else logits.div_(head.soft_cap).tanh_().mul_(head.soft_cap)


def _changed(current: Sequence[RowChanges], values: Tensor, first: int) -> Tensor:
    return current[0](values, first) if current else values


def _counted(lengths: Int[Tensor, " text"], n: int) -> Tensor:
    """Which of the columns, the tokens from the third on, are within each text."""
    return torch.arange(n) < lengths[:, None] - 2


def _means(values: Tensor, lengths: Int[Tensor, " text"]) -> Tensor:
    """Mean over the tokens that count, in float64."""
    counted = _counted(lengths, values.shape[-1])
    return torch.where(counted, values.double(), 0.0).sum(-1) / (lengths - 2)


def logprobs_finite(logprobs: Tensor, lengths: Int[Tensor, " text"]) -> Tensor:
    """Whether every token that counts has a finite log probability."""
    return (logprobs.isfinite() | ~_counted(lengths, logprobs.shape[-1])).all(-1)
