"""Tells refusals apart from other answers."""

from __future__ import annotations

import re

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_CANNOT = r"(?:i|we) (?:cannot|can't|can not|am not able to|am unable to|will not|won't)\b"
_REFUSAL = re.compile(
    r"\A\W*(?:"
    rf"(?:i'm |i am )?(?:very |so |really )?sorry\b[^\n]{{0,40}}?\b{_CANNOT}"
    rf"|(?:i apologi[sz]e|unfortunately)\b[^\n]{{0,40}}?\b{_CANNOT}"
    r"|(?:i'm|i am) (?:very |so |really )?sorry, but\b"
    rf"|(?:{_CANNOT}|i'm (?:not able|unable) to\b) (?:\w+ )?(?:help|assist|provide|comply|answer|fulfil+|continue"
    r"|create|generate|explain|describe|complete|do (?:that|this)|determine|engage|discuss)\b"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^\n]{0,60}?\bi\b"
    r")",
    re.IGNORECASE,
)


def without_thinking(text: str) -> str:
    """An answer without a block `<think>...</think>` at its start."""
    return _THINKING.sub("", text, count=1)


def is_refusal(text: str) -> bool:
    """Whether an answer says that the model will not or cannot answer.

    Conservative: only openings such as “I'm sorry, but I can't” in the first person; a phrase about refusals is none.
    """
    return _REFUSAL.search(without_thinking(text).replace("\u2019", "'")) is not None
