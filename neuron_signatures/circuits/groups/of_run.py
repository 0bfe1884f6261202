"""Suggested groups of a circuit of a run: its signatures from the stored activations, its names from the model."""

from __future__ import annotations

from neuron_signatures.circuits.groups.group_names import GroupNamer
from neuron_signatures.circuits.groups.signatures import compared_prompts, peak_acts
from neuron_signatures.circuits.groups.suggest import N_DRAWS, Suggestion, neurons_of, suggest_groups
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.run import Run


def suggest_for(run: Run, model: LoadedModel, graph: Graph, *, seed: int = 0, n_draws: int = N_DRAWS) -> Suggestion:
    """Suggested groups with names; without a comparison of signatures if the run has too few prompts for one."""
    neurons = [(node.layer, node.neuron) for node in neurons_of(graph) if node.neuron is not None]
    peaks = peak_acts(run, neurons)
    prompt_ids = [prompt.probe_id for prompt in compared_prompts(run)]
    namer = GroupNamer(run, model, graph, peaks=peaks, prompt_ids=prompt_ids)
    return suggest_groups(graph, peaks, namer=namer, seed=seed, n_draws=n_draws)
