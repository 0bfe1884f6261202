"""The first neurons of a ranking for its summary: what each one writes, and its name if the run has signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.analysis.signatures.names import Names
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt

N_FIRST = 10
_N_TOKENS = 3


@dataclass(frozen=True)
class FirstNeuron:
    """A row of a ranking. `score` is by the command's reference, which has the activation `reference` there.

    `writes` are the tokens whose logits its distance from the reference raises most: those that the neuron promotes if
    its activation is above the reference, else those that it suppresses; `lowers` are the opposite. Both are raw.
    `name` is that of the signature of its pole, None without one.
    """

    layer: int
    neuron: int
    ctx_idx: int
    activation: float
    reference: float
    score: float
    writes: tuple[str, ...]
    lowers: tuple[str, ...]
    name: str | None


def first_neurons(
    rows: pd.DataFrame, score: str, held: Callable[[int, int, int], float], checked: CheckedPrompt, target_pos: int,
    names: Names,
) -> tuple[FirstNeuron, ...]:  # fmt: skip
    """The first `N_FIRST` of the selected `rows`; `score` is the column to show, `held` the reference of a layer,
    position and neuron."""
    rows = rows.head(N_FIRST)
    neurons = list(dict.fromkeys(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)))
    written = write_scores(checked.model, checked.prompt.token_ids, target_pos, neurons, top=_N_TOKENS)
    of_neuron = dict(zip(neurons, written, strict=True))
    found = []
    for layer, neuron, pos, act, value in zip(
        *(rows[c].tolist() for c in ("layer", "neuron", "ctx_idx", "activation", score)), strict=True
    ):
        own, reference = of_neuron[layer, neuron], held(layer, pos, neuron)
        up, down = (tuple(t.token for t in side) for side in (own.promotes, own.suppresses))
        writes, lowers = (down, up) if act < reference else (up, down)
        name = names.get((layer, neuron, "-" if act < 0 else "+"))
        found.append(FirstNeuron(layer, neuron, pos, act, reference, value, writes, lowers, name))
    return tuple(found)
