"""Measures what a validation needs: the single ablations of a sample, and the sets of every ranking."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.ablated import SingleAblations
from neuron_signatures.analysis.attribution.estimators.ablation import every_neuron
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.validation.curves import set_groups
from neuron_signatures.analysis.validation.sample import Sample, draw_sample
from neuron_signatures.analysis.validation.sets import NeuronSets
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.analysis.validation.truth import Truth, ValidationConfig, pair_scores
from neuron_signatures.analysis.validation.validate import Validation, validate
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf

# Creates the file of the finished part of a computation, from its name and the settings that are its own.
PartialOf = Callable[[str, dict[str, object]], Partial]


@dataclass(frozen=True)
class Measurement:
    """What is measured, by which reference, and where finished parts are stored.

    `acts` are the prompt's activations in all layers at the problem's positions; `layers` those that are measured.
    """

    problem: Problem
    acts: Float[Tensor, "layer pos neuron"]
    layers: tuple[int, ...]
    reference: Reference
    config: ValidationConfig
    partial: PartialOf
    progress: ProgressOf

    @property
    def held(self) -> Float[Tensor, "layer pos neuron"]:
        return self.reference.held(self.acts)


def sampled_ablations(m: Measurement, rankings: Sequence[Attribution]) -> tuple[SingleAblations, Sample]:
    """The ablations of a sample of (neuron, position) pairs that is drawn by the rankings."""
    layers, config = list(m.layers), m.config
    assert config.sample is not None
    nothing = _attribution(m, torch.full_like(m.acts[layers], torch.nan))
    scores = [s for a in rankings if not np.isnan(s := pair_scores(a, nothing)).any()]
    neurons = every_neuron(m.problem.hf, layers=layers, positions=m.problem.positions)
    rng = np.random.default_rng(config.seed)
    sample = draw_sample(scores, neurons[:, 0].numpy(), config.sample, rng)
    wanted = torch.zeros(len(neurons), dtype=torch.bool)
    wanted[torch.from_numpy(sample.rows)] = True
    return SingleAblations(m.problem, neurons, wanted, m.held[layers].reshape(-1), config.batch), sample


def partial_effects(m: Measurement, rankings: Sequence[Attribution], sample: Sample) -> Partial:
    """The file of the finished ablations of a sample."""
    drawn = hashlib.sha256(sample.rows.tobytes()).hexdigest()[:16]
    return m.partial("effects", {"rankings": [a.metric for a in rankings], "sample_rows": drawn})


def sampled_effects(m: Measurement, ablations: SingleAblations, partial: Partial) -> Attribution:
    """The effects of the ablations, NaN for pairs that are not in the sample."""
    effects = ablations.measure(partial, m.progress)
    partial.save_now({"effects": effects.numpy(), "done": ablations.wanted.numpy()})  # until the validation is written
    return _attribution(m, effects.view(m.acts[list(m.layers)].shape))


def _attribution(m: Measurement, effects: Float[Tensor, "layer pos neuron"]) -> Attribution:
    return Attribution("ablation", m.layers, m.problem.positions, effects, m.acts[list(m.layers)], None)


def validation_of(
    m: Measurement, rankings: Sequence[Attribution], effects: Attribution, sample: Sample | None
) -> tuple[Validation, Truth]:
    """The validation of the rankings by the effects, and the truth that it used."""
    truth = Truth(effects, m.held, m.reference.resampled, sample)
    partial = m.partial("sets", {"rankings": [a.metric for a in rankings]})
    values = StoredValues(partial)
    n = len(m.layers) * m.acts.shape[-1]
    _, most = set_groups(len(rankings), n, m.config.n_random, resampled=truth.resampled is not None)
    with m.progress("sets", sum(most)) as bar, partial.save_on_error(values.arrays):
        sets = NeuronSets(m.problem, m.layers, batch=m.config.batch, values=values, advance=bar.advance)
        return validate(rankings, truth, sets, m.config), truth
