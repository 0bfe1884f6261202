"""What an error response means: a status, a line for the user, and whether asking again can help."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from neuron_signatures.llm.chat import Answer
from neuron_signatures.runs.errors import escape_controls, shorten

_MAX_REASON = 300
_CAN_REPEAT_THE_KEY = (401, 403)
_TRANSIENT = (408, 409, 425, 429)
_QUOTA = re.compile("insufficient_quota|billing_hard_limit|billing_not_active|insufficient_credits|quota_exceeded")
_FILTERED = re.compile("content_filter|content_policy|responsibleaipolicy|moderation_blocked", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context_length|context_size|(maximum|exceed\w*|beyond|fit\w*|longer than)\b.{0,60}\bcontext\b"
    r"|context (length|window|size).{0,60}\bexceed|(prompt|input) is too long|string_above_max_length",
    re.IGNORECASE | re.DOTALL,
)


class Fault(NamedTuple):
    """An error as a server reports it. `code` joins the type and code of the error."""

    http_status: int
    code: str
    message: str

    @property
    def is_quota(self) -> bool:
        """The account has no money left, so that waiting does not help."""
        return self.http_status == 402 or _QUOTA.search(self.code) is not None

    @property
    def is_transient(self) -> bool:
        return not self.is_quota and (self.http_status in _TRANSIENT or self.http_status >= 500)


def read_fault(http_status: int, value: Any) -> Fault:
    """The error in a response; `value` is its JSON value, None if it is none.

    Servers of code 200 put the code into the error (`{"error": {"code": 502, ...}}`), which then counts.
    """
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return Fault(http_status, "", "")
    code = error.get("code")
    if http_status < 300:
        http_status = code if isinstance(code, int) and 400 <= code < 600 else 500
    names = " ".join(str(name)[:100] for name in (error.get("type"), code) if name is not None)
    message = error.get("message") or error.get("detail")
    return Fault(http_status, names, message[:4000] if isinstance(message, str) else "")


def answer_of_fault(fault: Fault, redact: Callable[[str], str]) -> Answer:
    text = f"{fault.code} {fault.message}"
    if fault.is_quota:
        return Answer("over_budget", reason=f"the quota of the account is used up (HTTP {fault.http_status})")
    if fault.http_status in _CAN_REPEAT_THE_KEY:
        return Answer("api_error", reason=f"the server refused the request (HTTP {fault.http_status})")
    reason = _line(fault, redact)
    if fault.http_status in (400, 413, 422) and _FILTERED.search(text):
        return Answer("filtered", reason=reason)
    if fault.http_status in (400, 413, 422) and _TOO_LONG.search(text):
        return Answer("too_long", reason=reason)
    return Answer("api_error", reason=reason)


def _line(fault: Fault, redact: Callable[[str], str]) -> str:
    head = f"HTTP {fault.http_status}"
    if 300 <= fault.http_status < 400:
        return f"{head}: redirects are not followed"
    return shorten(f"{head}: {escape_controls(redact(fault.message))}" if fault.message else head, _MAX_REASON)
