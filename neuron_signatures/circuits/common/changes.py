"""Changes of neurons from their references on every prompt of a template, from the run's activations."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neuron_signatures.circuits.common.members import Key, Member, Template
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run


class Changes(NamedTuple):
    """Of neurons (rows) on prompts (columns); NaN where a prompt has no such role or nothing is known."""

    acts: Float64[np.ndarray, "neuron prompt"]
    change: Float64[np.ndarray, "neuron prompt"]
    """a - ā, with the mean over the circuits of the neuron's references in them; a itself if ā is the mean over the
    template, from which the changes are 0 on average."""


def changes_of(run: Run | None, template: Template, keys: Sequence[Key]) -> Changes:
    """Activations of the `keys`, which are neurons: as stored in the run, else those of the circuits' nodes.

    Of the circuits that are not held out. Pruning drops nodes, not activations: the run has them also for prompts whose
    circuit lacks the neuron.
    """
    members = template.training
    acts = np.full((len(keys), len(members)), np.nan)
    references = np.full((len(keys), len(members)), np.nan)
    for j, member in enumerate(members):
        for i, key in enumerate(keys):
            node = member.nodes.get(key)
            if node is not None and node.activation is not None:
                acts[i, j] = node.activation
                references[i, j] = 0.0 if template.mean_of_template else node.reference or 0.0
        if run is not None:
            _fill(acts[:, j], run, member, keys)
    n = np.maximum((~np.isnan(references)).sum(axis=1), 1)
    return Changes(acts, acts - (np.nansum(references, axis=1) / n)[:, None])


def _fill(column: Float64[np.ndarray, " neuron"], run: Run, member: Member, keys: Sequence[Key]) -> None:
    """Set the activations that are not known yet, where the run stores them."""
    position = {role: pos for pos, role in enumerate(member.roles)}
    wanted = [i for i, key in enumerate(keys) if np.isnan(column[i]) and key.role in position]
    for layer in sorted({keys[i].layer for i in wanted}):
        with contextlib.suppress(UsageError):  # a layer that is not stored
            acts = run.acts(member.graph.prompt.prompt_id, layer=layer)
            for i in wanted:
                if keys[i].layer == layer:
                    column[i] = acts[position[keys[i].role], keys[i].neuron]
