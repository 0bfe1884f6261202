"""What changes in the model's prediction when the neurons of a cluster are ablated together.

In each window, from the position at which the cluster is most active on, all members are set to their means over the
corpus; the effect is KL(clean ‖ ablated) of the next token in nats, averaged over these positions. Beside it are random
sets with as many neurons of each layer, at the same positions. The clean pass is a row of the same batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.readout import capped, pre_cap_logits
from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.clusters.request import EffectSettings
from neuron_signatures.interventions.controls.matched import matched_neurons
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.models.weights import Unembedding, unembedding
from neuron_signatures.records.corpus.blocks import model_inputs
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.stats.cluster_means import cluster_mean

_LOGITS = 1 << 27
"""Logits of a forward pass, which are in memory together."""
_N_DRAWS = 1000


class Effect(NamedTuple):
    """The mean over windows with its interval (over documents), and the means of the random sets."""

    mean: float | None
    low: float | None
    high: float | None
    n_windows: int
    null: Float64[np.ndarray, " set"]

    @property
    def p(self) -> float:
        """Share of the random sets whose effect is at least as large; NaN without windows."""
        if self.mean is None or not len(self.null):
            return float("nan")
        return float((1 + (self.null >= self.mean).sum()) / (1 + len(self.null)))


@dataclass(frozen=True, eq=False)
class Ablation:
    """A model and what its neurons are set to."""

    hf: PreTrainedModel
    corpus: Corpus
    means: Float[Tensor, "layer neuron"]
    """Over the part explain; 0 for layers without records, which are not ablated."""
    norms: Float[Tensor, "layer neuron"]
    """Of the output directions; neurons without output are not drawn."""


def cluster_effect(
    ablation: Ablation, members: Pairs, windows: Sequence[tuple[int, int]], settings: EffectSettings, *, seed: int
) -> Effect:
    """The effect of the members in these windows, each with the position at which the cluster is most active."""
    rng = np.random.default_rng(seed)
    layer, neuron = (torch.from_numpy(members[:, i].copy()) for i in (0, 1))
    sets = [(layer, neuron)]
    sets += [(layer, matched_neurons(layer, neuron, ablation.norms, rng)) for _ in range(settings.n_random)]
    found = np.array([_in_window(ablation, sets, *at, span=settings.span) for at in windows]).reshape(-1, len(sets))
    documents = [int(ablation.corpus.window_document[window]) for window, _ in windows]
    of = cluster_mean(found[:, 0].tolist(), documents, n_draws=_N_DRAWS, seed=seed)
    return Effect(of.mean, of.low, of.high, len(windows), found[:, 1:].mean(axis=0) if len(windows) else np.zeros(0))


@torch.inference_mode()
def _in_window(
    ablation: Ablation, sets: Sequence[tuple[Tensor, Tensor]], window: int, pos: int, *, span: int
) -> list[float]:
    """The effect of each set."""
    corpus = ablation.corpus
    ids = model_inputs(corpus, np.array([window]))[0]
    first = pos + int(corpus.meta.prepend_bos)
    with memory_faults(work_on(ablation.hf, "the forward passes with ablated neurons", ids)):
        suffix = Suffix(ablation.hf, ids, first=first, last=min(first + span, len(ids)) - 1)
        head = unembedding(ablation.hf)
        at_once = max(1, _LOGITS // (suffix.length * len(head.weight)) - 1)
        found: list[float] = []
        for start in range(0, len(sets), at_once):
            found += _effects(ablation, suffix, head, sets[start : start + at_once])
    return found


def _effects(
    ablation: Ablation, suffix: Suffix, head: Unembedding, sets: Sequence[tuple[Tensor, Tensor]]
) -> list[float]:
    layers = sorted({int(n) for layer, _ in sets for n in layer.unique()})

    def edit(layer: int, acts: Tensor) -> Tensor:
        acts = acts.clone()
        for row, (of_layer, neuron) in enumerate(sets, start=1):
            mine = neuron[of_layer == layer]
            acts[row][:, mine.to(acts.device)] = ablation.means[layer, mine].to(acts)
        return acts

    hidden = suffix.run_all(1 + len(sets), edit, layers, from_layer=layers[0])
    log_p = capped(head, pre_cap_logits(head, hidden.flatten(0, 1))).log_softmax(-1).unflatten(0, hidden.shape[:2])
    clean = log_p[:1]
    divergence = (clean.exp() * (clean - log_p[1:])).sum(-1)
    return [float(value) for value in divergence.mean(dim=1).clamp_min(0)]
