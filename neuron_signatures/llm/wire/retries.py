"""When and how often a failed request is sent again."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from neuron_signatures.llm.wire.faults import read_fault
from neuron_signatures.llm.wire.reply import Reply, load

_MS_HEADER = "retry-after-ms"  # of OpenAI, finer than seconds


@dataclass(frozen=True)
class RetryPolicy:
    """`attempts` in all; `timed_out` of them may run into the time limit, because each such request may be charged."""

    attempts: int = 4
    timed_out: int = 2
    first_delay: float = 0.5
    max_delay: float = 20.0
    retry_after_cap: float = 60.0
    """The longest wait in seconds that a server may ask for; beyond it, all asking stops."""
    jitter: random.Random = field(default_factory=random.Random, compare=False)
    """Requests that failed together must not be repeated together."""

    def wants_more(self, reply: Reply, attempt: int) -> bool:
        """Whether to send again after `attempt` attempts, of which the last had this reply."""
        if reply.lost == "timed_out":
            return attempt < min(self.attempts, self.timed_out)
        return attempt < self.attempts and is_transient(reply)

    def delay(self, reply: Reply, attempt: int) -> float:
        """Seconds to wait: what the server asks for and up to a tenth more, or a random time that doubles each time."""
        if reply.retry_after is not None:
            return reply.retry_after * (1 + self.jitter.random() / 10)
        return min(self.first_delay * 2.0 ** (attempt - 1), self.max_delay) * (1 - self.jitter.random() / 2)


def is_transient(reply: Reply) -> bool:
    """Whether the same request may succeed later."""
    if reply.lost:
        return reply.lost != "too_large"
    if reply.http_status == 200:
        value = load(reply.body)
        if isinstance(value, dict):
            return bool(value.get("error")) and read_fault(200, value).is_transient
        return reply.body.lstrip()[:1] != "<"  # JSON that was cut, not a web page
    return read_fault(reply.http_status, load(reply.body)).is_transient


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds in `Retry-After`, which holds a number or a date; None without one, or if it is neither."""
    for name, unit in ((_MS_HEADER, 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    try:
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
    except (ValueError, OverflowError):  # a date that no calendar has
        return None
