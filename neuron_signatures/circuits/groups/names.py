"""Names of neurons: from their explanations, else from the tokens that they promote, else from their signatures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from neuron_signatures.analysis.signatures.classes import CLASSES
from neuron_signatures.circuits.groups.promoted import TOP, Promoted, SignedNeuron, WriteSide, shown_list
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.circuits.groups import Evidence
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.neurons.fires import Fires, read_fires
from neuron_signatures.views.neurons.poles import Poles

log = logging.getLogger(__name__)

MAX_TEXT: Final = 300
_CLASSES: Final = tuple(name for name in CLASSES if name != "unclassified")


@dataclass(frozen=True)
class Label:
    """What a neuron stands for, with one sign of its change from the reference."""

    text: str
    """Empty if nothing is known. An explanation is raw: escape it wherever it is shown."""
    promotes: tuple[str, ...]
    """Raw tokens whose logits the change raises most, directly, the first most."""
    named_by: Evidence | None


def neuron_labels(
    run: Run, model: LoadedModel, neurons: Sequence[SignedNeuron], *,
    active: Sequence[int] | None = None, top: int = TOP,
) -> list[Label]:  # fmt: skip
    """The label of each (layer, neuron, sign), where sign is that of the change a - ā.

    The text is the explanation to read of the pole; else the tokens that it promotes, if they are more than those of a
    random direction (`promoted`); else the class of its signature; else those tokens after `perhaps`.

    `active` are the signs of the activations themselves. Where they differ from the change, the neuron is less active
    than its reference: an explanation or a signature of the pole then says what it is less active on, and the label
    begins with `less:`. Sets of explanations and signatures that cannot be read are left out, with a warning.
    """
    if not neurons:
        return []
    promoted = WriteSide(run, model).of(neurons, top=top)
    known = Known(run)
    signs = active if active is not None else [sign for *_, sign in neurons]
    return [_label(known, *args) for args in zip(neurons, signs, promoted, strict=True)]


class Known:
    """What the run says of its neurons, read once."""

    def __init__(self, run: Run) -> None:
        self.explanations = RunExplanations.read(run.path)
        for problem in self.explanations.problems:
            log.warning("%s", problem)
        self._fires = _read_fires(run)

    def explanation(self, layer: int, neuron: int, pole: Pole) -> str:
        """The one to read, on one line; empty without one."""
        first = self.explanations.of(NeuronAt(layer, neuron)).pole(pole).first
        return "" if first is None else " ".join(first.entry.text.split())

    def signature(self, layer: int, neuron: int, pole: Pole) -> str:
        """As displayed, such as `semantic: Texas, n 6`; empty for a pole without a class."""
        if self._fires is None:
            return ""
        text = self._fires.text(Poles(np.array([layer]), np.array([neuron]), np.array([pole == "-"])))
        return text if text.startswith(_CLASSES) else ""


def pole_of(sign: int) -> Pole:
    return "+" if sign >= 0 else "-"


def _label(known: Known, at: SignedNeuron, active: int, promoted: Promoted) -> Label:
    layer, neuron, sign = at
    pole = pole_of(active)
    less = "less: " if pole != pole_of(sign) else ""
    if text := known.explanation(layer, neuron, pole):
        return Label(_short(less + text), promoted.tokens, "explanations")
    if promoted.is_clear:
        return Label(_short(f"promotes {shown_list(promoted.tokens)}"), promoted.tokens, "write_scores")
    if text := known.signature(layer, neuron, pole):
        return Label(_short(less + text), promoted.tokens, "signatures")
    if promoted.tokens:
        return Label(_short(f"perhaps promotes {shown_list(promoted.tokens)}"), promoted.tokens, "write_scores")
    return Label("", (), None)


def _read_fires(run: Run) -> Fires | None:
    try:
        return read_fires(run.path)
    except ProjectError as e:
        log.warning("%s", e.line())
        return None


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
