"""Reads the answer of a judge: a JSON list of zeros and ones."""

from __future__ import annotations

from neuron_signatures.llm.json_text import NotJson, json_value


def read_verdicts(text: str, n: int) -> list[bool]:
    """The `n` answers. White space and a Markdown fence around the list are tolerated, and nothing else.

    Raises `NotJson`.
    """
    what = "the answer is not a JSON list of zeros and ones"
    try:
        found = json_value(text)
    except NotJson as e:
        raise NotJson(what) from e
    if not isinstance(found, list) or not found or any(type(one) is not int or one not in (0, 1) for one in found):
        raise NotJson(what)
    if len(found) != n:
        raise NotJson(f"the answer has {len(found)} values for {n} texts")
    return [one == 1 for one in found]
