"""Continuations of neutral prompts with a neuron, and with random neurons of its layer, steered at several doses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from neuron_signatures.interventions.side_effects.neutral import Neutral
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.outputs.intervals import random_of
from neuron_signatures.scoring.texts import SIGN

if TYPE_CHECKING:
    from neuron_signatures.scoring.outputs.loaded import LoadedSubject

DOSES: Final = (2.0, 8.0, 32.0)
"""Times the largest activation on `explain`, added at every position but the first and to every new token."""
N_PROMPTS: Final = 10
N_RANDOM: Final = 2
N_NEW: Final = 15
"""Tokens of a continuation."""
_MOST_TRIES: Final = 50


@dataclass(frozen=True)
class Steered:
    """`neurons` are the neuron itself and the random ones. `clean[prompt]` and `texts[neuron, dose][prompt]` are what
    follows the prompt."""

    prompts: tuple[str, ...]
    neurons: tuple[int, ...]
    clean: tuple[str, ...]
    texts: dict[tuple[int, float], tuple[str, ...]]


def steered_texts(
    subject: LoadedSubject, records: Records, at: NeuronPole, largest: float, neutral: Neutral, design: Design
) -> Steered:
    """`largest` is the neuron's largest activation; that of a random neuron is its own, of the same pole."""
    from neuron_signatures.scoring.outputs.copies import CopyEdit

    random = random_of(at, design, 24)
    open_ended = [p.text for p in neutral.prompts if p.continuation is None] or [p.text for p in neutral.prompts]
    prompts = [open_ended[i] for i in random.permutation(len(open_ended))[:N_PROMPTS]]
    units = {at.neuron: largest, **_random_neurons(records, at, random)}
    cells = [(neuron, dose) for neuron in units for dose in DOSES]
    edits = [CopyEdit.steer(neuron, SIGN[at.pole] * dose * units[neuron]) for neuron, dose in cells]
    rows = [_continued(subject, at.layer, ids, [CopyEdit.none(), *edits]) for ids in subject.encode(prompts)]
    columns = list(zip(*rows, strict=True))
    return Steered(tuple(prompts), tuple(units), columns[0], dict(zip(cells, columns[1:], strict=True)))


def _continued(subject: LoadedSubject, layer: int, ids: Sequence[int], edits: Sequence[object]) -> list[str]:
    new = subject.copies(ids, layer).continuations(edits, N_NEW)  # type: ignore[arg-type]
    return [subject.continued(ids, one) for one in new]


def _random_neurons(records: Records, at: NeuronPole, random: np.random.Generator) -> dict[int, float]:
    """Other neurons of the layer that have the pole's sign on `explain`, with their largest activation there."""
    found: dict[int, float] = {}
    for neuron in random.permutation(records.meta.d_mlp)[:_MOST_TRIES].tolist():
        if neuron == at.neuron or len(found) == N_RANDOM:
            continue
        windows = records.strongest(at.layer, neuron, at.pole, parts=("explain",), k=1, rows=False)
        largest = SIGN[at.pole] * (windows[0].value or 0.0) if windows else 0.0
        if largest > 0:
            found[neuron] = largest
    return found
