"""What a run answers to a search: by words and tokens from its files, by meaning through a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from neuron_signatures.api.base import MAX_LISTED
from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.tui.explanations.reading import OpenedExplanations
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.texts import short
from neuron_signatures.views.search_run.asked import Answer, Asked, answer
from neuron_signatures.views.search_run.commands import missing
from neuron_signatures.views.serving import serve_command

SERVER_VARIABLE = "NEURON_SIGNATURES_SERVER"
_SECONDS = 60.0
"""For one answer of the server, the wait in its queue included."""


class Told(NamedTuple):
    """An answer, and the explanation of each hit's pole if the hits are tokens (empty without one)."""

    asked: Asked
    found: Answer
    explained: Sequence[str] = ()


class OpenedSearch:
    """For threads; files are read again when they change."""

    def __init__(self, run: Run, explained: OpenedExplanations) -> None:
        self._run = run
        self._explained = explained
        self._search = Search.open(run)

    def tell(self, asked: Asked) -> Told:
        """Raises `UsageError` for what has not been made, `BadRunError` for damaged files, and `ServerProblem`."""
        if not asked.of_tokens:  # which need no index, so that a damaged one does not matter
            lacks = missing(self._search.contents(), self._run.path).get(asked.way)
            if lacks is not None:
                raise UsageError(lacks.what.rstrip("."), next_step=f"Run `{lacks.command}`")
        if asked.way == "meaning":
            return Told(asked, self._by_meaning(asked))
        return Told(asked, answer(self._search, asked))

    def explained(self, told: Told) -> Told:
        """With what the explanations say of the poles that write a token; opening them can take seconds."""
        if not told.asked.of_tokens:
            return told
        texts = []
        for hit in told.found.hits:
            try:
                texts.append(short(self._explained.of(NeuronAt(hit.at.layer, hit.at.neuron)), hit.at.pole))
            except (ProjectError, OSError):  # the screens of explanations report it
                return told
        return told._replace(explained=texts)

    def _by_meaning(self, asked: Asked) -> Answer:
        url, run_dir = os.environ.get(SERVER_VARIABLE), self._run.path.resolve()
        start = serve_command(self._run.manifest.model_name, run_dir.parent, url or "")
        if not url:
            what = f"a search by meaning needs a server, which embeds the query, and {SERVER_VARIABLE} is not set"
            raise UsageError(what, next_step=f"Start one with `{start}` and set it to http://127.0.0.1:8600")
        from neuron_signatures.client import Client  # imports the network library
        from neuron_signatures.client.run_search import OtherRunError, by_meaning

        try:
            with Client(url, timeout=_SECONDS, retries=1) as client:
                wanted = replace(asked, k=min(asked.k, MAX_LISTED))
                return by_meaning(client, run_dir.name, self._run.manifest, wanted)
        except OtherRunError as e:
            raise OtherRunError(e.what, next_step=f"Start one that has it with `{start}`") from e
