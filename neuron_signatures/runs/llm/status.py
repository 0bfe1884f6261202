"""What became of a request to a language model."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "refused", "filtered", "too_long", "unparsable", "api_error", "timed_out", "over_budget"]
"""`too_long`: the answer was cut at its limit of tokens, or the prompt exceeds the context. `over_budget`: not sent,
because of `--max_cost` or `--max_requests`, or because the provider's quota is used up."""
STATUSES: tuple[Status, ...] = (
    "ok", "refused", "filtered", "too_long", "unparsable", "api_error", "timed_out", "over_budget",
)  # fmt: skip
