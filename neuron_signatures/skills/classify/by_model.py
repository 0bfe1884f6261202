"""Ratings of pairs by language models, one model after the other: they share the journal and the ledger of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from neuron_signatures.llm.budget import Limits
from neuron_signatures.llm.cache import open_cache
from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.llm.choose import LlmSpec, open_client, open_prices
from neuron_signatures.llm.errors import StopAsking
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.llm.pool import run_pool
from neuron_signatures.llm.session import Session
from neuron_signatures.llm.spent import Spent, spent_of
from neuron_signatures.runs.llm.names import RequestFiles
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.stopping import HeldStop
from neuron_signatures.scoring.asking import Failed, ask_and_read
from neuron_signatures.skills.classify.answers import Said, read_verdict
from neuron_signatures.skills.classify.items import Pair
from neuron_signatures.skills.classify.prompt import classify_request
from neuron_signatures.skills.classify.rating import Rating, rated
from neuron_signatures.skills.classify.request import ClassifyRequest, rater_name

STAGE: Final = "classify"
"""Under which requests are counted in the ledger."""


class Asked(NamedTuple):
    """A pair and the number of a sample, with its request."""

    pair: Pair
    sample: int
    request: ChatRequest


class ModelRatings(NamedTuple):
    """`stopped` says why it ended before all was asked; empty if it did not."""

    ratings: Sequence[Rating]
    spent: Spent
    answered_by: Sequence[str]
    stopped: str = ""


class ModelForecast(NamedTuple):
    """What a model would be asked, without what the journal and the cache hold. `cost` is None without a price."""

    requests: int
    prompt_tokens: int
    answer_tokens: int
    cost: float | None
    prices: str


def asked_of(request: ClassifyRequest, pairs: Sequence[Pair], classes: Mapping[str, str]) -> list[Asked]:
    """All samples of all pairs, the samples of a pair together."""
    return [
        Asked(pair, sample, classify_request(
            pair.of.explanation, pair.name, classes, sample=sample, seed=request.seed, max_tokens=request.max_tokens,
        ))
        for pair in pairs
        for sample in range(request.samples)
    ]  # fmt: skip


def open_session(request: ClassifyRequest, spec: LlmSpec) -> Session:
    """Raises the errors of loading, of addresses, keys and limits. Nothing is written."""
    cache = open_cache() if request.use_cache else None
    limits: Limits = request.limits
    prices = open_prices(spec, request.price_file)
    return Session(open_client(spec), RequestFiles(request.run_dir), cache, limits, prices, STAGE)


def rate(
    session: Session, spec: LlmSpec, asked: Sequence[Asked], *, again: bool, bar: Bar, stop: HeldStop
) -> ModelRatings:
    """What the model says. With `again`, stored answers that failed are asked for once more."""
    found: dict[int, Said | Failed] = {}

    async def one(at: int) -> None:
        read = await ask_and_read(session, asked[at].request, read_verdict, again=again)
        found[at] = read.found
        bar.advance(1)
        cost = session.totals.cost
        bar.note("" if cost is None or session.client.kind != "openai" else f"${cost:.4f}")

    async def all_of_them() -> None:
        try:
            await run_pool(range(len(asked)), one, workers=_workers(spec), stop=stop)
        finally:
            await session.client.close()

    stopped = ""
    try:
        asyncio.run(all_of_them())
    except StopAsking as e:
        stopped = e.line()
    finally:
        answered = list(session.account.answered_by.get(session.client.model, ())) if found else []
        session.close()
    rater = rater_name(spec)
    ratings = [rated(asked[at].pair, rater, asked[at].sample, found[at]) for at in sorted(found)]
    return ModelRatings(ratings, spent_of(session), answered, stopped)


def forecast_of(spec: LlmSpec, request: ClassifyRequest, asked: Sequence[Asked]) -> ModelForecast:
    """Raises `UsageError` for a price file that is wrong."""
    unique = {a.request for a in asked}
    tokens = sum(estimated_tokens(r.messages) for r in unique)
    answers = sum(r.max_tokens for r in unique)
    if spec.kind != "openai":
        return ModelForecast(len(unique), tokens, answers, 0.0, "a model in this process")
    prices = open_prices(spec, request.price_file)
    if prices is None:
        return ModelForecast(len(unique), tokens, answers, None, "the published prices are those of OpenAI")
    price = prices.of(spec.model)
    cost = None if price is None else price.cost(tokens, answers)
    return ModelForecast(len(unique), tokens, answers, cost, f"prices of {prices.date}, {prices.source}")


def _workers(spec: LlmSpec) -> int:
    return 2 * spec.batch_size if spec.kind == "local" else 2 * spec.concurrency
