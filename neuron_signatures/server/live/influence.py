"""Influence of the neurons of a text on a target, by the metrics and references of stage 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from neuron_signatures.analysis.attribution.influence import ALL, InfluenceSettings, influence, positions_of
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import ZERO, Reference, refuse_undefined
from neuron_signatures.api.live import InfluenceAnswer, InfluenceRequest, InfluenceRow
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.predictions import find_target, target_answer
from neuron_signatures.server.live.references import named_mean
from neuron_signatures.server.live.stopping import check, progress_of
from neuron_signatures.server.live.tokens import FIRST_POSITION, ids_of, layers_of, token_rows

MAX_SCORES: Final = 20_000_000
"""Neurons times positions of one request: each takes about 50 bytes while it is computed."""


def influence_of(held: Held, request: InfluenceRequest, stop: Stop) -> InfluenceAnswer:
    """The neurons with the largest |influence| on the target, with their activation and reference.

    The target function is the pre-cap logit (difference). Scores are those of stage 2 for the same text, metric and
    reference. Neurons whose score is undefined are not listed and not summed.
    """
    ids = ids_of(held, request)
    layers = layers_of(held, request.layers)
    on = find_target(held, ids, request.on)
    positions = positions_of(ALL if request.positions == "all" else None, len(ids), on.target.pos)
    _refuse_many(held, len(positions))
    reference = _reference(held, request.reference, len(positions), stop)
    if request.metric == "ig" and reference.values is not None:
        known = reference.values[layers]
        refuse_undefined(known, where="reference", next_step="Use a run that stores these layers, or other layers")
    check(stop)
    found = influence(
        request.metric,
        Problem(held.model.hf, ids, on.target, positions),
        _acts(held, request, ids, positions),
        _settings(request, layers),
        reference=reference,
        partial=None,
        progress=progress_of(stop),
    )
    rows = _Rows(found.attribution, layers, reference, request.top_k)
    return InfluenceAnswer(
        tokens=token_rows(held, ids),
        on=target_answer(held, on.target, on.logits),
        metric=request.metric,
        reference=_said(reference),
        rows=rows.first(),
        sum_all=rows.sum_all,
        sum_abs=rows.sum_abs,
        share_shown=rows.share,
        warnings=[*on.warnings, *found.warnings, *([FIRST_POSITION] if 0 in positions else [])],
    )


def _settings(request: InfluenceRequest, layers: Sequence[int]) -> InfluenceSettings:
    """The fields that ig uses; the others are of metrics that the API does not have."""
    return InfluenceSettings(
        ctx=None,
        ig_steps=request.ig_steps,
        ig_max_steps=request.ig_max_steps,
        ig_path="joint",
        ablation_batch=1,
        layers=None if request.layers is None else tuple(layers),
        candidates=None,
        value_neurons=0,
    )


class _Rows:
    """The finite scores of the chosen layers; the first `k` of them, ties in the order of (layer, position, neuron)."""

    def __init__(self, found: Attribution, layers: Sequence[int], reference: Reference, k: int) -> None:
        self._found, self._reference = found, reference
        self._layers = [i for i, layer in enumerate(found.layers) if layer in set(layers)]
        flat = found.scores[self._layers].flatten()
        ok = flat.isfinite() & found.acts[self._layers].flatten().isfinite()
        if not reference.is_zero and reference.values is not None:  # a score can be 0 whatever the reference
            ok &= reference.values[[found.layers[i] for i in self._layers]].flatten().isfinite()
        sizes = torch.where(ok, flat.abs(), -1.0)
        first, at = sizes.topk(min(k, int(ok.sum())))
        self._at = sorted(at.tolist(), key=lambda i: (-float(sizes[i]), i))
        self.sum_all = float(torch.where(ok, flat, 0.0).sum(dtype=torch.float64))
        self.sum_abs = float(sizes.clamp_min_(0.0).sum(dtype=torch.float64))
        self.share = float(first.sum(dtype=torch.float64)) / self.sum_abs if self.sum_abs else None

    def first(self) -> list[InfluenceRow]:
        found = self._found
        _, n_pos, d_mlp = found.scores.shape
        rows = []
        for at in self._at:
            i, j, neuron = self._layers[at // (n_pos * d_mlp)], at // d_mlp % n_pos, at % d_mlp
            layer = found.layers[i]
            values = self._reference.values
            held = 0.0 if self._reference.is_zero or values is None else float(values[layer, j, neuron])
            rows.append(
                InfluenceRow(
                    pos=found.positions[j], layer=layer, neuron=neuron, act=float(found.acts[i, j, neuron]),
                    reference=held, influence=float(found.scores[i, j, neuron]),
                )
            )  # fmt: skip
        return rows


def _reference(held: Held, text: str, n_positions: int, stop: Stop) -> Reference:
    if text == ZERO:
        return Reference(ZERO, None, None)
    name, mean = named_mean(held, text, stop, where="reference")
    values = mean.values[:, None].expand(held.shape.n_layers, n_positions, held.shape.d_mlp)
    return Reference(name, name, values, mean.n_tokens, mean.run, None, mean.records)


def _said(reference: Reference) -> str:
    if reference.is_zero:
        return ZERO
    over = reference.records.text(reference.n_tokens or 0) if reference.records else f"{reference.n_tokens} tokens"
    return f"{reference.name} (mean over {over})"


def _refuse_many(held: Held, n_positions: int) -> None:
    n = held.shape.n_layers * held.shape.d_mlp * n_positions
    if n > MAX_SCORES:
        what = f"{n:,} scores ({n_positions} positions), more than {MAX_SCORES:,}"
        raise UsageError(what, where="positions", next_step="Use positions: target, or an earlier target position")


def _acts(held: Held, request: InfluenceRequest, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
    """The activations [layer pos neuron] up to the last of `positions`, as `influence` takes them.

    Only dla reads them, at other positions than the target's; otherwise only their shape counts, and they are zeros.
    """
    shape = (held.shape.n_layers, max(positions) + 1, held.shape.d_mlp)
    if request.metric != "dla" or len(positions) == 1:
        return torch.zeros(1, 1, 1).expand(shape)
    return recompute(held.model, ids[: shape[1]])
