"""Token search in a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.filters import matcher


class TokenHit(NamedTuple):
    """A matching token; `prompt_index` is the prompt's index in the run."""

    prompt_index: int
    prompt_id: str
    pos: int
    token: str


def find_tokens(run: Run, query: str) -> Iterator[TokenHit]:
    """Every token that contains `query`, ignoring case, in the order of the run.

    Both the raw and the displayed form of a token are compared, so ` Austin` and `·Austin` find the same tokens;
    `"Austin"` in double quotes finds exactly that token, `/.../` a regular expression. Raises `UsageError` if the query
    is empty or its regular expression invalid.
    """
    if not query:
        raise UsageError("the search text is empty")
    match, matches = matcher(query), dict[str, bool]()
    for index, prompt in enumerate(run.prompts):
        new = list(set(prompt.tokens) - matches.keys())
        matches.update(zip(new, match(new).tolist(), strict=True))
        for pos, token in enumerate(prompt.tokens):
            if matches[token]:
                yield TokenHit(index, prompt.probe_id, pos, token)
