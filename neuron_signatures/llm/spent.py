"""What the requests of one process cost."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_signatures.llm.session import Session
from neuron_signatures.runs.files import counted


@dataclass(frozen=True)
class Spent:
    """Requests that were sent by this process, and what they cost."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    """US dollars; None where the price of a request is not known."""
    from_journal: int = 0
    from_cache: int = 0

    def text(self) -> str:
        """In one line."""
        again = self.from_journal + self.from_cache
        if not self.requests and not again:
            return "no requests"
        reused = f"; {counted(again, 'answer')} not paid again" if again else ""
        cost = "cost unknown (no price)" if self.cost is None else f"${self.cost:.4f}"
        tokens = f"{self.prompt_tokens:,} tokens of prompts, {self.completion_tokens:,} of answers"
        return f"{counted(self.requests, 'request')}, {tokens}, {cost}{reused}"


def spent_of(session: Session) -> Spent:
    """What a session has spent so far."""
    t = session.totals
    return Spent(t.requests, t.prompt_tokens, t.completion_tokens, t.cost, t.from_journal, t.from_cache)
