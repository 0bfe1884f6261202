"""Influence of the neurons of a text on a target, by the metrics and references of stage 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.influence import ALL, InfluenceSettings, influence, positions_of
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import ZERO, Reference, refuse_undefined
from neuron_signatures.api.live import InfluenceAnswer, InfluenceRequest, InfluenceRow
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import MlpCapture
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.predictions import find_target, target_answer
from neuron_signatures.server.live.references import named_mean
from neuron_signatures.server.live.stopping import check, progress_of
from neuron_signatures.server.live.tokens import FIRST_POSITION, ids_of, layers_of, token_rows

MAX_SCORES: Final = 50_000_000
"""Neurons times positions of one request: each takes about 30 bytes while it is computed."""


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
        _acts(held, ids, positions),
        _settings(request, layers),
        reference=reference,
        partial=None,
        progress=progress_of(stop),
    )
    rows = _Rows(found.attribution, layers, reference)
    return InfluenceAnswer(
        tokens=token_rows(held, ids),
        on=target_answer(held, on.target, on.logits),
        metric=request.metric,
        reference=_said(reference),
        rows=rows.first(request.top_k),
        sum_all=rows.sum_all,
        sum_abs=rows.sum_abs,
        share_shown=rows.share(request.top_k),
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
    """The finite scores of the chosen layers, the largest first; ties go to the smaller (layer, position, neuron)."""

    def __init__(self, found: Attribution, layers: Sequence[int], reference: Reference) -> None:
        self._found, self._reference = found, reference
        self._layers = [i for i, layer in enumerate(found.layers) if layer in set(layers)]
        flat = found.scores[self._layers].flatten()
        ok = flat.isfinite() & found.acts[self._layers].flatten().isfinite()
        if not reference.is_zero and reference.values is not None:  # a score can be 0 whatever the reference
            ok &= reference.values[[found.layers[i] for i in self._layers]].flatten().isfinite()
        self._scores = flat
        self._order = torch.where(ok, flat.abs(), -1.0).sort(descending=True, stable=True).indices[: int(ok.sum())]
        self.sum_all = float(flat[ok].sum(dtype=torch.float64))
        self.sum_abs = float(flat[ok].abs().sum(dtype=torch.float64))

    def first(self, k: int) -> list[InfluenceRow]:
        found = self._found
        _, n_pos, d_mlp = found.scores.shape
        rows = []
        for at in self._order[:k].tolist():
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

    def share(self, k: int) -> float | None:
        """The share of `sum_abs` that the first k have."""
        if not self.sum_abs:
            return None
        return float(self._scores[self._order[:k]].abs().sum(dtype=torch.float64)) / self.sum_abs


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


def _acts(held: Held, ids: Sequence[int], positions: Sequence[int]) -> Float[Tensor, "layer prompt_pos neuron"]:
    """The activations up to the last of `positions`, as `influence` takes them; only those at `positions` are right."""
    n_layers, d_mlp = held.shape
    last, alone = max(positions) + 1, len(positions) == 1
    acts = torch.empty(n_layers, 1 if alone else last, d_mlp)

    def keep(layer: int, found: Tensor) -> None:
        acts[layer] = found[0, list(positions) if alone else slice(None)].float()

    work = work_on(held.model.hf, "the forward pass", ids)
    with memory_faults(work), MlpCapture(held.model.hf) as capture:
        capture.run(torch.tensor([list(ids[:last])], device=held.model.device), sink=keep)
    return acts.expand(n_layers, last, d_mlp)
