"""Token search in a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible


class TokenHit(NamedTuple):
    """A matching token; `prompt_index` is the prompt's index in the run."""

    prompt_index: int
    prompt_id: str
    pos: int
    token: str


def find_tokens(run: Run, query: str) -> Iterator[TokenHit]:
    """Every token that contains `query`, ignoring case, in the order of the run.

    Both the raw and the displayed form of a token are compared, so ` Austin` and `·Austin` find the same tokens;
    `"Austin"` in double quotes finds exactly that token. Raises `UsageError` for an empty query.
    """
    exact = len(query) > 2 and query[0] == query[-1] == '"'
    wanted = query[1:-1] if exact else query.casefold()
    if not wanted:
        raise UsageError("the search text is empty")
    matches: dict[str, bool] = {}
    for index, prompt in enumerate(run.prompts):
        for pos, token in enumerate(prompt.tokens):
            found = matches.get(token)
            if found is None:
                shown = visible(token)
                found = wanted in (token, shown) if exact else wanted in token.casefold() or wanted in shown.casefold()
                matches[token] = found
            if found:
                yield TokenHit(index, prompt.probe_id, pos, token)
