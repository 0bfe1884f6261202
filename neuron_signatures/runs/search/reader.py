"""`Search` finds neurons of a run by words, by written token and by meaning.

It loads no model, takes no lock and writes nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.hits import EVERYWHERE, Contents, Found, Hit, Scope

__all__ = ["Contents", "Found", "Hit", "Scope", "Search"]


class Search:
    """Search in one run. Everything is read when it is first needed, and kept. Several threads may use it.

    Without an index, explanations are searched by words and tokens from the run alone. Every method raises
    `BadRunError` for damaged files and `UsageError` for what has not been made, with the command that makes it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir

    @classmethod
    def open(cls, run: Run | Path | str) -> Search:
        """Of a run, or of the run in a folder. Reads nothing yet."""
        return cls(run.path if isinstance(run, Run) else Path(run))

    def contents(self) -> Contents:
        """What can be searched, from the records alone: cheap enough for every page. Reads them again each time."""
        raise NotImplementedError

    def by_words(self, query: str, scope: Scope = EVERYWHERE) -> Found:
        """Texts that have every word of the query, by BM25; then, if they are fewer than `k`, those that have some.

        `word*` is a beginning of words, `"a phrase"` words in this order, `L3`, `L3N14` and `L3N14-` select rows, and
        so does `set:NAME`. Case and accents are ignored. Raises `UsageError` for a query without a word.
        """
        raise NotImplementedError

    def by_token(self, query: str, scope: Scope = EVERYWHERE, *, suppressed: bool = False) -> Found:
        """Poles that promote (or suppress) a token: ` Austin` and `·Austin` are the same token, `"Austin"` in quotes
        is exactly this one. The exact token first, then tokens that contain the text; by rank among what the pole
        writes, then by write score. `scope.kinds` is not used."""
        raise NotImplementedError

    def by_meaning(self, vector: Float[np.ndarray, " dim"], scope: Scope = EVERYWHERE) -> Found:
        """Texts by the cosine with a unit vector, made by `contents().embedder`; exact. Ties are in order of neuron.

        Raises `UsageError` if the index has no vectors, or vectors of other dimensions."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the index's files. The next search opens them again."""
        raise NotImplementedError
