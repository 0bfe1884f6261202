"""Simulators without a language model behind the interface of those with one, and checks of what any of them says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from neuron_signatures.scoring.predictions import check
from neuron_signatures.scoring.simulators.base import Said, Simulated, Simulator, Usage, WindowSimulator
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32


@runtime_checkable
class WholeWindows(Protocol):
    """A simulator that says something of a whole window too."""

    def of_windows(self, said: Said, texts: Sequence[Text]) -> Float32[np.ndarray, " window"] | None:
        """One value per window; None if it cannot predict from this explanation."""
        ...


@runtime_checkable
class Forecast(Protocol):
    """A simulator that can say which requests it would send."""

    def requests_for(self, said: Said, texts: Sequence[Text]) -> Sequence[object]: ...


@runtime_checkable
class WithSettings(Protocol):
    """A simulator with settings beside its prompt, such as the model of embeddings."""

    def settings(self) -> dict[str, Any]: ...


def without_model(simulator: Simulator) -> WindowSimulator:
    """A simulator that sends no requests, as a `WindowSimulator`; `WholeWindows` if it is."""
    return _WithWindows(simulator, simulator) if isinstance(simulator, WholeWindows) else _WithoutModel(simulator)


class _WithoutModel:
    levels: int | None = None
    prompt_version: str | None = None

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.name, self.lowest, self.highest = simulator.name, simulator.lowest, simulator.highest

    async def simulate_windows(
        self, said: Said, texts: Sequence[Text], *, again: frozenset[int]
    ) -> tuple[list[Simulated], Usage] | None:
        values = self._simulator.simulate(said, texts)
        return None if values is None else ([Simulated(found) for found in values], Usage())

    def settings(self) -> dict[str, Any]:
        return self._simulator.settings() if isinstance(self._simulator, WithSettings) else {}


class _WithWindows(_WithoutModel):
    def __init__(self, simulator: Simulator, whole: WholeWindows) -> None:
        super().__init__(simulator)
        self._whole = whole

    def of_windows(self, said: Said, texts: Sequence[Text]) -> Float32[np.ndarray, " window"] | None:
        return self._whole.of_windows(said, texts)


def checked(simulator: WindowSimulator, found: Sequence[Simulated], texts: Sequence[Text]) -> list[Simulated]:
    """A prediction of another length than its text, or with a value that cannot be, is a failed one."""
    assert len(found) == len(texts), f"{simulator.name} answered {len(found)} of {len(texts)} texts"
    if _all_valid(simulator, found, texts):
        return list(found)
    return [_checked(simulator, one, text) for one, text in zip(found, texts, strict=True)]


def _all_valid(simulator: WindowSimulator, found: Sequence[Simulated], texts: Sequence[Text]) -> bool:
    """The check of all at once, which is much faster than one by one."""
    given = [(s.values, t) for s, t in zip(found, texts, strict=True) if s.values is not None]
    if any(values.shape != (len(text.tokens),) for values, text in given):
        return False
    every = np.concatenate([np.empty(0, np.float32), *(values for values, _ in given)])
    low, high = every.min(initial=np.inf), every.max(initial=-np.inf)
    in_range = (simulator.lowest is None or low >= simulator.lowest) and (
        simulator.highest is None or high <= simulator.highest
    )
    return not len(every) or bool(in_range and np.isfinite(low) and np.isfinite(high))


def _checked(simulator: WindowSimulator, found: Simulated, text: Text) -> Simulated:
    if found.values is None:
        return found
    wrong = check(found.values, text, lowest=simulator.lowest, highest=simulator.highest)
    return found if wrong is None else Simulated(None, "unparsable", f"the prediction is invalid: {wrong.value}")
