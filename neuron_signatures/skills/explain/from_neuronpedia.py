"""Explanations of features from Neuronpedia, for units that nothing else explains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.pool import HOLD_SECONDS, run_pool
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.skills.banks import SAE
from neuron_signatures.runs.skills.units import Unit
from neuron_signatures.runs.stopping import HeldStop, hold_stop
from neuron_signatures.skills.explain.explained import Explained
from neuron_signatures.skills.explain.neuronpedia_cache import FeatureAnswer, FeatureCache, open_feature_cache
from neuron_signatures.skills.explain.neuronpedia_client import (
    FeatureFailed,
    NeuronpediaClient,
    feature_url,
    open_neuronpedia,
)
from neuron_signatures.skills.explain.places import source_name

WORKERS = 4
MAX_FAILURES = 32
"""Failed requests in a row, after which the server is taken to be out of order."""


@dataclass(frozen=True)
class NeuronpediaRequest:
    """`pattern` names the source of a layer and site, such as `{layer}-gemmascope-{site}-16k`."""

    model: str
    pattern: str
    base_url: str
    per_minute: int = 60
    timeout: float = 120.0
    use_cache: bool = True

    def url(self, unit: Unit) -> str:
        source = source_name(self.pattern, unit.bank.layer, unit.bank.site)
        return feature_url(self.base_url.rstrip("/"), self.model, source, unit.number)

    def cache(self) -> FeatureCache:
        return open_feature_cache() if self.use_cache else FeatureCache(None)


@dataclass(frozen=True)
class FeaturesFound:
    """`stopped` says why it ended before all units were asked about; empty if it did not."""

    rows: Sequence[Explained]
    n_requests: int
    n_cached: int
    stopped: str = ""


def features_of(units: Sequence[Unit]) -> list[Unit]:
    """Those that Neuronpedia can know."""
    return [unit for unit in units if unit.bank.source == SAE]


def uncached(units: Sequence[Unit], request: NeuronpediaRequest) -> list[Unit]:
    """Those about which a request would be sent."""
    cache = request.cache()
    return [unit for unit in features_of(units) if cache.get(request.url(unit)) is None]


def read_features(units: Sequence[Unit], request: NeuronpediaRequest, progress: ProgressOf) -> FeaturesFound:
    """The explanations of the features among the units, from the cache or the server.

    Each answer is cached as it arrives, so that an interrupted command loses none. Raises `StopSignal` after a signal.
    """
    asking = _Asking(request, features_of(units))
    with progress("features", len(asking.units)) as bar, hold_stop(HOLD_SECONDS) as stop:
        stopped = asyncio.run(asking.run(bar, stop))
    return FeaturesFound(asking.rows(), asking.n_requests, asking.n_cached, stopped)


class _Asking:
    def __init__(self, request: NeuronpediaRequest, units: Sequence[Unit]) -> None:
        self.units = units
        self.n_cached = self.n_requests = 0
        self._request, self._cache = request, request.cache()
        self._endpoint, self._key = open_neuronpedia(request.base_url)
        self._found: dict[Unit, FeatureAnswer | FeatureFailed] = {}
        self._failures = 0

    async def run(self, bar: Bar, stop: HeldStop) -> str:
        """Why it ended early; empty if it did not."""
        r = self._request
        client = NeuronpediaClient(self._endpoint, self._key, per_minute=r.per_minute, timeout=r.timeout)

        async def one(unit: Unit) -> None:
            await self._ask(unit, client)
            bar.advance(1)

        try:
            await run_pool(self.units, one, workers=WORKERS, stop=stop)
        except StopAsking as e:
            return e.line()
        finally:
            self.n_requests = client.n_requests
            await client.close()
        return ""

    def rows(self) -> list[Explained]:
        return [row for unit in self.units if unit in self._found for row in self._rows_of(unit, self._found[unit])]

    async def _ask(self, unit: Unit, client: NeuronpediaClient) -> None:
        url = self._request.url(unit)
        if (cached := self._cache.get(url)) is not None:
            self._found[unit], self.n_cached = cached, self.n_cached + 1
            return
        try:
            answer = await client.feature(url)
        except FeatureFailed as e:
            self._found[unit] = e
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                what = f"{self._failures} requests in a row failed, the last one with: {e.reason}"
                raise StopAsking(what, next_step="Run again when the server works; what is answered is kept") from e
            return
        self._failures = 0
        self._cache.put(answer)
        self._found[unit] = answer

    def _rows_of(self, unit: Unit, found: FeatureAnswer | FeatureFailed) -> Iterator[Explained]:
        if isinstance(found, FeatureFailed):
            url = self._request.url(unit)
            yield Explained(unit, "", "", "neuronpedia", url, "", status=found.status, reason=found.reason)
        elif found.status == "none":
            yield Explained(
                unit, "", "", "neuronpedia", found.url, found.retrieved_at, status="none", reason=found.reason
            )
        else:
            for e in found.explanations:
                yield Explained(
                    unit, e.text, e.by, "neuronpedia", found.url, found.retrieved_at, score=e.score,
                    score_name=e.score_name,
                )  # fmt: skip
