"""The windows of a planted neuron, as those of a neuron of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.design import Design, Group, NeuronTexts
from neuron_signatures.scoring.planted.neurons import Planted
from neuron_signatures.scoring.planted.passages import Passages
from neuron_signatures.scoring.sampling import ACTIVE_PERCENTILE, groups_of
from neuron_signatures.scoring.texts import Text


def planted_texts(passages: Passages, neuron: Planted, design: Design, *, number: int) -> NeuronTexts:
    """`standard` sampling; all passages of a part are its uniform sample. `number` is that of the neuron."""
    explain = np.concatenate([text.acts for text in neuron.texts(passages, "explain")]).astype(np.float64)
    scored, fitted = (_groups(neuron.texts(passages, part), design, number) for part in (design.split, design.fit_part))
    threshold = float(np.percentile(explain, ACTIVE_PERCENTILE))
    return NeuronTexts(NeuronPole(0, number, "+"), scored, fitted, threshold, float(explain.max()))


def sentence_texts(sentences: Sequence[Text], design: Design, *, number: int) -> NeuronTexts:
    """Of a puzzle, which has few sentences: the same ones are scored and fitted, and active is what is above 0."""
    groups = _groups(sentences, design, number)
    largest = max(text.peak for text in sentences)
    return NeuronTexts(NeuronPole(0, number, "+"), groups, groups, 0.0, largest)


def _groups(sample: Sequence[Text], design: Design, number: int) -> Mapping[Group, tuple[Text, ...]]:
    top = sorted(sample, key=lambda text: -text.peak)[: design.n_top]
    return groups_of(sample, top, design, seed=(design.seed, number))
