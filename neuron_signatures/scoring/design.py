"""How an explanation is scored: on which windows, against which controls, with which least evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.scores.names import Split
from neuron_signatures.scoring.texts import Text

Sampling = Literal["standard", "sixty"]
Group = Literal["top", "random", "uniform", "sixty"]


@dataclass(frozen=True)
class Design:
    """`standard` sampling takes the strongest windows of the pole, random ones, and a uniform sample; `sixty` takes
    sixty examples (docs/scores.md). `n_uniform`: at most so many windows of the uniform sample; None: all.
    """

    split: Split = "report"
    sampling: Sampling = "standard"
    n_top: int = 5
    n_random: int = 5
    n_uniform: int | None = None
    min_positives: int = 5
    """Least number of active positions (or windows, where they are what is judged) for a score to be defined."""
    n_null: int = 5
    """Explanations of other neurons of the layer, per neuron."""
    n_draws: int = 1000
    """Of the bootstrap."""
    seed: int = 0

    @property
    def fit_part(self) -> Part:
        """The part on which calibrations and thresholds are fitted: never the one that is scored."""
        return "select" if self.split == "report" else "explain"

    def settings(self) -> dict[str, Any]:
        """What a continued log must share. Draws of the null can be added."""
        return {name: value for name, value in asdict(self).items() if name != "n_null"}


@dataclass(frozen=True, eq=False)
class NeuronTexts:
    """The windows on which explanations of one pole of a neuron are scored.

    `scored` are windows of the split by group; a window can be in several groups. `fitted` are windows of `fit_part`,
    in the same groups. `threshold` is the 99th percentile of the pole's activations at the counted positions of the
    uniform sample of `explain`: a position is active above it, and above 0.
    """

    at: NeuronPole
    scored: Mapping[Group, tuple[Text, ...]]
    fitted: Mapping[Group, tuple[Text, ...]]
    threshold: float
    largest: float
    """The largest activation of the pole on `explain`: the unit of quantised activations."""
