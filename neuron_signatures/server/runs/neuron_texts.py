"""The texts on which a neuron is strongest, as the activations of Neuronpedia's feature API."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from neuron_signatures.api.neuron_page import Activation, TextExtras
from neuron_signatures.records.exchange.neuron_record import decimal_acts
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.records.names import PARTS, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.server.held import GivenUp, Stop

MOST_TOKENS = 100_000
"""Tokens of the texts of one pole; further texts are left out."""
MOST_PROMPTS = 5000
"""Prompts that are looked through; a neuron's activations on each are read."""

Source = Literal["corpus", "prompts"]
T = TypeVar("T")


class Place(NamedTuple):
    """A neuron as Neuronpedia names it."""

    model: str
    layer: str
    number: str


class Texts(NamedTuple):
    """The strongest texts of a pole, strongest first; `strongest` is the activation at the peak of the first."""

    source: Source
    activations: list[Activation]
    strongest: float | None
    notes: list[str]


def corpus_texts(records: Records, place: Place, layer: int, neuron: int, pole: Pole, n: int) -> Texts:
    """The n strongest windows of the corpus, of all its parts."""
    windows = records.strongest(layer, neuron, pole, parts=PARTS, k=max(1, n))
    strongest = next((w.value for w in windows), None)
    shown, notes = _bounded(windows[:n], [len(w.tokens) for w in windows[:n]])
    if any(w.acts is None for w in shown):
        notes.append("values are null but at the peak: the activations of this neuron in these texts are not stored")
    return Texts("corpus", [_of_window(w, place, pole, strongest) for w in shown], strongest, notes)


def prompt_texts(run: Run, place: Place, layer: int, neuron: int, pole: Pole, n: int, stop: Stop) -> Texts:
    """The n prompts of the run with the strongest peaks of this pole's sign; the first position does not count, unless
    it is the only one: it carries massive activations."""
    sign = 1 if pole == "+" else -1
    peaks: list[tuple[float, int, int]] = []  # minus the strength, the prompt, the position
    for i, prompt in enumerate(run.prompts[:MOST_PROMPTS]):
        if stop():
            raise GivenUp
        acts = run.acts(prompt, layer=layer, neuron=neuron)
        counted = np.where(np.isfinite(acts), sign * acts, -np.inf)[_counted_from(prompt) :]
        if counted.max() > 0:
            peaks.append((-float(counted.max()), i, int(counted.argmax()) + _counted_from(prompt)))
    peaks.sort()
    notes = [] if len(run.prompts) <= MOST_PROMPTS else [f"only the first {MOST_PROMPTS} prompts were looked through"]
    best = [(run.prompts[i], pos) for _, i, pos in peaks[:n]]
    shown, more = _bounded(best, [p.seq_len for p, _ in best])
    found = [_of_prompt(p, run.acts(p, layer=layer, neuron=neuron), pos, place, pole) for p, pos in shown]
    return Texts("prompts", found, -sign * peaks[0][0] if peaks else None, notes + more)


def _of_window(w: Window, place: Place, pole: Pole, strongest: float | None) -> Activation:
    if w.acts is None:
        values: list[float | None] = [None] * len(w.tokens)
        if w.pos is not None:
            values[w.pos] = w.value
    else:
        values = _plain(w.acts)
    extras = TextExtras(
        pole=pole, pos=w.pos, act=None if w.pos is None else values[w.pos], counted_from=w.counted_from,
        window=w.window, part=w.part, stored=w.acts is not None,
    )  # fmt: skip
    return _activation(place, w.tokens, values, w.document_name, "corpus", strongest, extras)


def _of_prompt(p: PromptRecord, acts: np.ndarray, pos: int, place: Place, pole: Pole) -> Activation:
    values = _plain(acts)
    extras = TextExtras(pole=pole, pos=pos, act=values[pos], counted_from=_counted_from(p))
    return _activation(place, p.tokens, values, p.probe_id, "prompts", None, extras)


def _activation(
    place: Place, tokens: Sequence[str], values: list[float | None], name: str, source: Source,
    strongest: float | None, extras: TextExtras,
) -> Activation:  # fmt: skip
    """`maxValue` of the pole + is that at the peak, and `minValue` that of the pole -; the other is of the whole text,
    null if only the peak is stored."""
    known = {i: v for i, v in enumerate(values) if v is not None} if extras.stored else {}
    highest = max(known, key=known.__getitem__, default=None)
    lowest = min(known.values(), default=None)
    if extras.pole == "+":
        highest = extras.pos
    else:
        lowest = extras.act
    return Activation(
        modelId=place.model, layer=place.layer, index=place.number, tokens=[encodable(t) for t in tokens],
        values=values, maxValue=None if highest is None else values[highest], maxValueTokenIndex=highest,
        minValue=lowest, dataIndex=encodable(name), dataSource=source, binMax=strongest, neuron_signatures=extras,
    )  # fmt: skip


def _bounded(texts: Sequence[T], lengths: Sequence[int]) -> tuple[list[T], list[str]]:
    """The first texts that have `MOST_TOKENS` together, and a note if any is left out."""
    ends = np.cumsum(lengths)
    n = int((ends <= MOST_TOKENS).sum())
    notes = [] if n == len(texts) else [f"{len(texts) - n} texts are left out: all have {int(ends[-1]):,} tokens"]
    return list(texts[:n]), notes


def _counted_from(prompt: PromptRecord) -> int:
    return min(1, prompt.seq_len - 1)


def _plain(acts: np.ndarray) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in decimal_acts(acts)]
