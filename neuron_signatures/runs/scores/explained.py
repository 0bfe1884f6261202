"""What a set of explanations says about the explanations that were scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.resolve import State
from neuron_signatures.runs.logs.following import AnotherFileError


class Explained(NamedTuple):
    """`explainer` and `model` are empty and None where the set is not there any more."""

    explainer: str = ""
    model: str | None = None
    current: bool = True
    """Whether it is a current explanation of its pole, or failed and there is no current one."""


def explained_in(run_dir: Path, set_name: str) -> Mapping[str, Explained]:
    """By id; empty if the set is not there any more. Raises `BadRunError` if its log is damaged."""
    index = LogIndex(run_dir, set_name)
    try:
        index.read_more()
    except AnotherFileError:
        return {}
    found: dict[str, Explained] = {}
    for at in index.poles:
        states = index.states(at)
        with_current = {s.line.mode for s in states if s.current}
        found |= {s.line.id: _explained(s, s.line.mode in with_current) for s in states}
    return found


def _explained(state: State, has_current: bool) -> Explained:
    line = state.line
    failed = line.status != "ok" and not state.replaced and not has_current
    return Explained(line.explainer, line.model, state.current or failed)
