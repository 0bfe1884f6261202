"""What a command would ask and cost, from the requests of some of its items. Nothing is sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.llm.choose import open_prices
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.runs.files import counted
from neuron_signatures.scoring.stage.request import ScoreRequest
from neuron_signatures.scoring.stage.scored_set import ScoredLog
from neuron_signatures.scoring.stage.stage import Opened

N_POLES = 10
"""Poles of each set and scorer whose requests are made, at equal distances; the others are taken to be like them."""


@dataclass(frozen=True)
class LogForecast:
    """Of one set and one scorer. `passes` are those of a model in this process that are no chat requests."""

    name: str
    n_poles: int
    n_missing: int
    """Poles of which something is missing."""
    items: int
    """Explanations and controls to score."""
    requests: int
    """At most: answers that the user's cache or the journal has are not subtracted."""
    passes: int
    prompt_tokens: int
    """Estimated without a tokenizer."""
    completion_tokens: int
    """If every answer takes its limit of tokens."""

    def line(self) -> str:
        """For people."""
        what = f"{self.name}: {self.n_missing:,} of {counted(self.n_poles, 'pole')}, {counted(self.items, 'item')}"
        if self.passes:
            what += f", {counted(self.passes, 'pass')[: -1 if self.passes != 1 else None]}es of the local model"
        if not self.requests:
            return f"{what}, no requests"
        tokens = f"about {self.prompt_tokens:,} tokens of prompts, at most {self.completion_tokens:,} of answers"
        return f"{what}, {counted(self.requests, 'request')}, {tokens}"


@dataclass(frozen=True)
class Forecast:
    """`cost` in US dollars: None if no price is known, 0 for a local model or none."""

    logs: tuple[LogForecast, ...]
    cost: float | None
    prices: str

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        cost = "no price is known: give --price_file" if self.cost is None else f"about ${self.cost:.2f}"
        return [*(log.line() for log in self.logs), f"cost: {cost} ({self.prices})"]


def forecast(work: Opened) -> Forecast:
    """Of what is missing."""
    logs = tuple(_forecast_log(one, work.request.limit) for one in work.logs)
    tokens = sum(log.prompt_tokens for log in logs), sum(log.completion_tokens for log in logs)
    return Forecast(logs, *_cost(work.request, *tokens))


def _forecast_log(one: ScoredLog, limit: int | None) -> LogForecast:
    missing = one.missing()[:limit]
    items = sum(len(m.items) for m in missing)
    with_items = [m for m in missing if m.items]
    chosen = with_items[:: max(1, len(with_items) // N_POLES)][:N_POLES]
    requests = passes = prompts = answers = n_made = 0
    for m in chosen if one.scorer.prompt_version is not None else ():
        texts = one.texts_of(m.at)
        for planned in m.items:
            n_made += 1
            for request in one.scorer.requests_of(one.plan.item(planned), texts):
                if isinstance(request, ChatRequest):
                    requests += 1
                    prompts += estimated_tokens(request.messages)
                    answers += request.max_tokens
                else:
                    passes += 1
    scale = items / n_made if n_made else 0
    scaled = (round(scale * n) for n in (requests, passes, prompts, answers))
    return LogForecast(one.about.name, len(one.poles), len(missing), items, *scaled)


def _cost(request: ScoreRequest, prompt_tokens: int, answer_tokens: int) -> tuple[float | None, str]:
    llm = request.llm
    if llm is None or not prompt_tokens:
        return 0.0, "nothing is asked of a server"
    if llm.kind != "openai":
        return 0.0, "a model in this process"
    prices = open_prices(llm, request.price_file)
    if prices is None:
        return None, "the published prices are those of OpenAI"
    price, source = prices.of(llm.model), f"prices of {prices.date}, {prices.source}"
    return (None if price is None else price.cost(prompt_tokens, answer_tokens)), source
