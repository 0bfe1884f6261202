"""Counting a response into the ledger: its tokens, and what it cost or may have cost."""

from __future__ import annotations

from neuron_signatures.llm.chat import Answer
from neuron_signatures.llm.prices import Price
from neuron_signatures.runs.llm.journal import Received
from neuron_signatures.runs.llm.ledger import Account

ANSWERED = ("ok", "refused", "filtered", "too_long", "unparsable")
"""Statuses of a response in which a model, or the server's filter, answered."""


def known_cost(answer: Answer, price: Price | None) -> float | None:
    """US dollars by the tokens that the server counted; None if it did not, or without a price."""
    if price is None or answer.prompt_tokens is None or answer.completion_tokens is None:
        return None
    return price.cost(answer.prompt_tokens, answer.completion_tokens)


def unknown_cost(received: Received, answer: Answer, price: Price | None) -> float:
    """US dollars that a request may have cost although no count of tokens came back."""
    if price is None or received.most_tokens is None or known_cost(answer, price) is not None:
        return 0.0
    may_be_charged = bool(received.lost) or received.http_status == 200
    return price.cost(*received.most_tokens) if may_be_charged else 0.0


def count(account: Account, received: Received, answer: Answer, price: Price | None, *, is_free: bool) -> bool:
    """Add one response; returns whether another model answered than before under the same name.

    `is_free` is true for models in this process.
    """
    account.requests += 1
    account.failed += answer.status not in ANSWERED
    account.prompt_tokens += answer.prompt_tokens or 0
    account.completion_tokens += answer.completion_tokens or 0
    if not is_free:
        account.cost += known_cost(answer, price) or 0.0
        account.unknown_cost_at_most += unknown_cost(received, answer, price)
        account.without_price += price is None
    return account.note_model(received.model, answer.model)
