"""Texts on which neurons are strongest: of the run's records where a neuron is recorded, else of the run's prompts."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import POLES, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

MAX_PROMPTS: Final = 2000
_AROUND: Final = 32
"""Tokens on both sides of a peak that are kept."""

Source = Literal["records", "prompts", "none"]


class LayerNeuron(NamedTuple):
    layer: int
    neuron: int


class Example(NamedTuple):
    """A text around a peak. Tokens are raw."""

    tokens: tuple[str, ...]
    acts: tuple[float, ...]
    """One per token; 0 beside the peak if only that is known."""
    peak: int
    is_whole: bool = True
    """Whether all activations are known, not only the peak's."""


class Examples(NamedTuple):
    """Of each pole the strongest texts, strongest first, only those in which the activation has the pole's sign."""

    source: Source
    positive: tuple[Example, ...] = ()
    negative: tuple[Example, ...] = ()


def examples_of(run: Run, neurons: Collection[LayerNeuron], *, most: int) -> dict[LayerNeuron, Examples]:
    """At most `most` examples of each pole of each neuron. Raises `BadRunError` for damaged records or activations."""
    found = dict(_of_records(run, neurons, most)) if Records.exist(run.path) else {}
    found.update(_of_prompts(run, [n for n in neurons if n not in found], most))
    return {n: found.get(n, Examples("none")) for n in neurons}


def _of_records(run: Run, neurons: Iterable[LayerNeuron], most: int) -> Iterator[tuple[LayerNeuron, Examples]]:
    with Records.open(run) as records:
        for n in neurons:
            if records.holds(*n):
                positive, negative = (
                    tuple(_of_window(w) for w in records.strongest(*n, pole, k=most) if _has_sign(w, pole))
                    for pole in POLES
                )
                yield n, Examples("records", positive, negative)


def _has_sign(window: Window, pole: Pole) -> bool:
    value = window.value or 0.0
    return value > 0 if pole == "+" else value < 0


def _of_window(window: Window) -> Example:
    peak = window.pos or 0
    acts = np.zeros(len(window.tokens), np.float32) if window.acts is None else window.acts.copy()
    acts[peak] = window.value
    return _cut(window.tokens, acts, peak)._replace(is_whole=window.acts is not None)


def _of_prompts(run: Run, neurons: Iterable[LayerNeuron], most: int) -> dict[LayerNeuron, Examples]:
    """Each prompt's largest activation of each pole, but for a BOS token's. Every layer is read once per prompt."""
    by_layer: dict[int, list[int]] = defaultdict(list)
    for layer, neuron in neurons:
        if run.stores(layer, neuron):
            by_layer[layer].append(neuron)
    if by_layer and len(run.prompts) > MAX_PROMPTS:
        log.warning("examples are of the first %d of %d prompts", MAX_PROMPTS, len(run.prompts))
    return {
        LayerNeuron(layer, neuron): examples
        for layer, indices in by_layer.items()
        for neuron, examples in zip(indices, _of_layer(run, layer, indices, most), strict=True)
    }


def _of_layer(run: Run, layer: int, neurons: list[int], most: int) -> Iterator[Examples]:
    prompts = run.prompts[:MAX_PROMPTS]
    rows = [np.nan_to_num(run.acts(p, layer=layer)[:, neurons], posinf=0, neginf=0) for p in prompts]
    first = [1 if run.begins_with_bos(p) else 0 for p in prompts]
    for i in range(len(neurons)):
        poles = []
        for sign in (1, -1):
            peaks = [(sign * acts[start:, i]).argmax() + start if len(acts) > start else 0
                     for acts, start in zip(rows, first, strict=True)]  # fmt: skip
            values = [sign * float(acts[peak, i]) for acts, peak in zip(rows, peaks, strict=True)]
            order = [k for k in np.argsort(values, kind="stable")[::-1] if values[k] > 0][:most]
            poles.append(tuple(_cut(tuple(prompts[k].tokens), rows[k][:, i], int(peaks[k])) for k in order))
        yield Examples("prompts", *poles)


def _cut(tokens: tuple[str, ...], acts: np.ndarray, peak: int) -> Example:
    start = max(0, peak - _AROUND)
    part = slice(start, peak + _AROUND + 1)
    return Example(tuple(tokens[part]), tuple(np.asarray(acts[part], np.float64).tolist()), peak - start)
