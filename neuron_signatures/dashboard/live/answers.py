"""Answers of the model, kept in memory: the page runs again at every click, and asks nothing twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

import streamlit as st
from pydantic import BaseModel

from neuron_signatures.api.live import TextRequest
from neuron_signatures.api.models import ModelFacts
from neuron_signatures.dashboard.live.checks import check_answer
from neuron_signatures.dashboard.live.server_at import LiveClient
from neuron_signatures.runs.errors import EnvironmentProblem

MOST = 64
"""Answers in memory, of all sessions."""
A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=TextRequest)


class Answers:
    """The last `most` answers by what was asked of which model; used by the threads of all sessions."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, BaseModel] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Hashable) -> BaseModel | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: Hashable, answer: BaseModel) -> None:
        with self._lock:
            self._found[key] = answer
            while len(self._found) > self._most:
                self._found.popitem(last=False)


@st.cache_resource(show_spinner=False)
def shared_answers() -> Answers:
    return Answers()


@dataclass(frozen=True)
class LiveModel:
    """A loaded model that can be asked. If it is not reachable any more, only kept answers are given."""

    client: LiveClient
    facts: ModelFacts
    identity: tuple[str, str, str]
    """Address and start of the server, and all facts of the model."""
    is_reachable: bool = True

    def ask(self, question: Callable[[LiveClient], Callable[[R], A]], request: R, *more: str) -> A:
        """The answer to a request, from memory if it was given before.

        `question` names the method of the client; `more` is what else the answer depends on, such as a run. Raises
        `ProjectError`: a problem of the server, or an answer that cannot be right.
        """
        key = (*self.identity, type(request).__name__, request.model_dump_json(), *more)
        kept = shared_answers().get(key)
        if kept is None:
            if not self.is_reachable:
                raise EnvironmentProblem("the server is not reachable", next_step="Try again when it runs")
            kept = question(self.client)(request)
            check_answer(kept, self.facts)
            shared_answers().keep(key, kept)
        return cast(A, kept)
