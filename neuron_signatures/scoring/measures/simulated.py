"""`SimulatorScorer`: scores explanations by how well a simulator predicts the activations from them."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.scores.names import CONTROLS, Control, Scorer
from neuron_signatures.scoring.design import Group, NeuronTexts
from neuron_signatures.scoring.lookup.rule import rule_of
from neuron_signatures.scoring.measures import controls
from neuron_signatures.scoring.measures.adapter import Forecast, WholeWindows, WithSettings, checked, without_model
from neuron_signatures.scoring.measures.bootstrap import Bootstrap
from neuron_signatures.scoring.measures.flat import Flat, flat_positions, flat_windows
from neuron_signatures.scoring.measures.measured import (
    Scoring,
    not_measured,
    sixty_scores,
    top_and_random_scores,
    uniform_scores,
    window_scores,
)
from neuron_signatures.scoring.measures.names import SIXTY, STANDARD, WINDOWS
from neuron_signatures.scoring.measures.stored import mistakes_of, stored_windows
from neuron_signatures.scoring.measures.windows import plan_of
from neuron_signatures.scoring.predictions import Undefined
from neuron_signatures.scoring.scorer import Item, Measured, Scored
from neuron_signatures.scoring.simulators.base import Simulated, Usage, WindowSimulator
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32

    from neuron_signatures.scoring.tools import Tools

__all__ = ["SimulatorScorer", "without_model"]

SAMPLES = ("uniform", "top_and_random", "sixty", "windows")
"""Their place is part of the seed of the draws. All scores on a sample share the draws, and so do all explanations of a
neuron, so that two explanations are compared on the same documents."""
_WITHOUT_SIMULATOR: frozenset[Control] = frozenset({"constant", "ceiling", "lookup"})


class _Said(NamedTuple):
    """What was predicted for an item. None: nothing can be predicted."""

    windows: list[Simulated] | None
    whole: Float32[np.ndarray, " window"] | None
    """Of the windows of `uniform`, by simulators that have it."""
    usage: Usage = Usage()


class SimulatorScorer:
    """Any simulator as an `ItemScorer`.

    Each window is simulated once, whatever number of groups it is in. `constant` predicts 1 everywhere, `ceiling` the
    quantised activations, `lookup` what the look-up rule of the neuron predicts: these ask nothing. A window whose
    prediction failed is left out. Intervals, stored windows and mistakes are those of `own` only.
    """

    controls: frozenset[Control] = frozenset(CONTROLS)
    n_others = 0

    def __init__(self, simulator: WindowSimulator, tools: Tools) -> None:
        self.name = cast(Scorer, simulator.name)
        self.prompt_version = simulator.prompt_version
        self._simulator, self._records, self._design = simulator, tools.records, tools.design

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        started = perf_counter()
        needed = plan_of(texts).needed
        said = await self._predict(item, texts, needed)
        if said.windows is None:
            return Scored(self._nothing(Undefined.NOT_SIMULATED.value), seconds=perf_counter() - started)
        by_simulator = item.control not in _WITHOUT_SIMULATOR
        found = checked(self._simulator, said.windows, needed) if by_simulator else said.windows
        own = item.control == "own"
        mistakes = mistakes_of(texts, found) if own else None
        asked = self._asks(item)
        return Scored(
            self._measured(item, texts, found, said.whole),
            [s.status for s in found] if asked else (),
            next((s.reason for s in found if s.status != "ok"), ""),
            stored_windows(texts, found, mistakes) if mistakes is not None else (),
            mistakes,
            prompt_tokens=said.usage.prompt_tokens, completion_tokens=said.usage.completion_tokens,
            cost=said.usage.cost, answered_by=said.usage.answered_by, seconds=perf_counter() - started,
        )  # fmt: skip

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[object]:
        if not self._asks(item) or not isinstance(self._simulator, Forecast):
            return ()
        return self._simulator.requests_for(item.said, plan_of(texts).needed)

    def settings(self) -> dict[str, Any]:
        own = self._simulator.settings() if isinstance(self._simulator, WithSettings) else {}
        return {"simulator": self.name, "levels": self._simulator.levels, "prompt_version": self.prompt_version} | own

    def _asks(self, item: Item) -> bool:
        """Whether the item sends requests."""
        return self.prompt_version is not None and item.control not in _WITHOUT_SIMULATOR

    async def _predict(self, item: Item, texts: NeuronTexts, needed: Sequence[Text]) -> _Said:
        if item.control in _WITHOUT_SIMULATOR:
            values = self._without_simulator(item, texts, needed)
            return _Said(None, None) if values is None else self._by_values(values, texts)
        found = await self._simulator.simulate_windows(item.said, needed, again=item.again)
        if found is None:
            return _Said(None, None)
        uniform = plan_of(texts).members("scored", "uniform").texts
        whole = self._simulator.of_windows(item.said, uniform) if isinstance(self._simulator, WholeWindows) else None
        return _Said(found[0], whole, found[1])

    def _without_simulator(
        self, item: Item, texts: NeuronTexts, needed: Sequence[Text]
    ) -> list[Float32[np.ndarray, " pos"]] | None:
        if item.control == "constant":
            return controls.constant(needed)
        if item.control == "ceiling":
            return controls.ceiling(needed, largest=texts.largest, levels=self._simulator.levels)
        rule = item.said.rule or rule_of(self._records, item.at)  # the own explanation can be the rule itself
        return None if rule is None else controls.by_rule(rule, needed)

    def _by_values(self, values: Sequence[np.ndarray], texts: NeuronTexts) -> _Said:
        """Of a whole window the largest one, where the simulator says something of whole windows."""
        whole = None
        if isinstance(self._simulator, WholeWindows):
            uniform = plan_of(texts).members("scored", "uniform")
            whole = controls.peaks([values[i] for i in uniform.places], uniform.texts)
        return _Said([Simulated(v) for v in values], whole)

    def _measured(
        self, item: Item, texts: NeuronTexts, found: Sequence[Simulated], whole: np.ndarray | None
    ) -> dict[str, Measured]:
        def flat(part: Literal["scored", "fitted"], *groups: Group) -> Flat:
            members, places = plan_of(texts).members(part, *groups)
            return flat_positions(members, [found[i].values for i in places], texts.threshold)

        if self._design.sampling == "sixty":
            sixty = flat("scored", "sixty")
            return sixty_scores(sixty, self._how(item, sixty, "sixty"))
        uniform, mixed = flat("scored", "uniform"), flat("scored", "top", "random")
        measures = uniform_scores(uniform, flat("fitted", "uniform"), self._how(item, uniform, "uniform"))
        how = self._how(item, mixed, "top_and_random")
        measures |= top_and_random_scores(mixed, flat("fitted", "top", "random"), how)
        if whole is not None:
            windows = flat_windows(plan_of(texts).members("scored", "uniform").texts, whole, texts.threshold)
            measures |= window_scores(windows, self._how(item, windows, "windows"))
        return measures

    def _how(self, item: Item, flat: Flat, sample: str) -> Scoring:
        d = self._design
        if item.control != "own":
            return Scoring(d.min_positives)
        seed = (d.seed, item.at.layer, item.at.neuron, POLES.index(item.at.pole), SAMPLES.index(sample))
        return Scoring(d.min_positives, Bootstrap(flat.n_documents, n_draws=d.n_draws, seed=seed))

    def _nothing(self, why: str) -> dict[str, Measured]:
        return not_measured(self._names(), why)

    def _names(self) -> tuple[str, ...]:
        """The scores that this scorer gives."""

        if self._design.sampling == "sixty":
            return SIXTY
        return (*STANDARD, *WINDOWS) if isinstance(self._simulator, WholeWindows) else STANDARD
