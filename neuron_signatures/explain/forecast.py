"""What a command would ask and cost, from the prompts of some of its poles. Nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuron_signatures.explain.by_model import open_evidence, open_scorers
from neuron_signatures.explain.explainers.build import TooLittle, build_prompt
from neuron_signatures.explain.work import modes_of, request_of
from neuron_signatures.llm.choose import open_prices
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.runs.files import counted

if TYPE_CHECKING:
    from neuron_signatures.explain.stage import Opened

N_PROMPTS = 50
"""Prompts that are made, of poles at equal distances; the others are taken to be like them."""


@dataclass(frozen=True)
class StageForecast:
    """`prompt_tokens` are estimated without a tokenizer; `completion_tokens` and `cost` assume that every answer
    takes its limit of tokens. `cost` is in US dollars, None if no price is known, 0 for a local model."""

    set_name: str
    n_poles: int
    n_done: int
    n_pending: int
    n_prompts: int
    """Prompts that were made for this forecast."""
    n_too_little: int
    """Of them: poles with too little evidence."""
    requests: int
    """At most: answers that the user's cache has are not subtracted."""
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    prices: str

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return self.__dict__ | {}

    def lines(self) -> list[str]:
        lines = [
            f"{self.set_name}: {counted(self.n_poles, 'pole')}, {self.n_done:,} done, {self.n_pending:,} to explain"
        ]
        if not self.requests:
            return [*lines, "no requests"]
        tokens = f"about {self.prompt_tokens:,} tokens of prompts, at most {self.completion_tokens:,} of answers"
        lines.append(f"{counted(self.requests, 'request')}, {tokens} (from {counted(self.n_prompts, 'prompt')})")
        if self.n_too_little:
            lines.append(f"{self.n_too_little} of these {self.n_prompts} have too little evidence, and so no request")
        cost = "no price is known: give --price_file" if self.cost is None else f"about ${self.cost:.2f}"
        return [*lines, f"cost: {cost} ({self.prices})"]


def forecast(work: Opened) -> StageForecast:
    """Of what is missing in the set. Raises as the stage does for flags that do not go together."""
    pending = work.pending
    n_done = len(work.poles) - len(work.missing)
    counts = (work.set_name, len(work.poles), n_done, len(pending))
    if work.request.llm is None or not pending:
        return StageForecast(*counts, 0, 0, 0, 0, 0, 0.0, "no language model")
    method, step = work.request.method, max(1, len(pending) // N_PROMPTS)
    chosen = pending[::step][:N_PROMPTS]
    scorers = open_scorers(method, work.records)
    n_too_little = requests = tokens = answers = 0
    for at in chosen:
        evidence = open_evidence(work, at, scorers)
        for mode in modes_of(evidence, method, scorers.embedder):
            prompt = build_prompt(method.explainer, evidence, mode=mode)
            if isinstance(prompt, TooLittle):
                n_too_little += 1
                continue
            each = method.n_samples + method.revise
            requests += each
            tokens += each * estimated_tokens(prompt.messages)
            answers += each * request_of(at, prompt, mode, method, sample=0).request.max_tokens
    scale = len(pending) / len(chosen)
    totals = (round(scale * requests), round(scale * tokens), round(scale * answers))
    return StageForecast(*counts, len(chosen), n_too_little, *totals, *_cost(work, totals[1], totals[2]))


def _cost(work: Opened, prompt_tokens: int, answer_tokens: int) -> tuple[float | None, str]:
    llm = work.request.llm
    assert llm is not None
    if llm.kind != "openai":
        return 0.0, "a model in this process"
    prices = open_prices(llm, work.request.price_file)
    if prices is None:
        return None, "the published prices are those of OpenAI"
    price, source = prices.of(llm.model), f"prices of {prices.date}, {prices.source}"
    return (None if price is None else price.cost(prompt_tokens, answer_tokens)), source
