"""What a view gets: the run, the selection, and the ways to change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.shell.state import MANUAL, Selection, View
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.ranked import ListRef

SELECTION = "selection"
"""Where the session keeps its `Selection`."""
MOVED = "moved"
"""Set when the page itself changed the selection, so that its address lags behind."""


@dataclass(frozen=True)
class PageContext:
    """Made anew for every run of the script; `run` is this thread's own reader and is closed at its end."""

    run: Run
    selection: Selection
    lists: tuple[ListRef, ...]
    """The ranked lists of the run, as `views.ranked.list_refs` gives them."""
    data_key: str
    """Changes when the manifest or a tensor file changes: what a cache of activations is keyed by."""
    results_key: str
    """Changes when a file in `analysis/` changes."""

    @property
    def run_dir(self) -> Path:
        return self.run.path

    @property
    def prompt(self) -> PromptRecord:
        return self.run.prompts[self.selection.prompt]

    @property
    def listed(self) -> ListRef | None:
        """The list that is selected; None for a manual selection, or if it cannot be read."""
        return next((r for r in self.lists if r.stem == self.selection.list and not r.problem), None)

    @property
    def at(self) -> NeuronAt:
        return self.selection.at

    def choose(
        self, *, prompt: int | None = None, layer: int | None = None, neuron: int | None = None,
        view: View | None = None, list: str | None = None, row: int | None = None,
    ) -> None:  # fmt: skip
        """Change the selection; what is not given stays. For callbacks (`on_click`, `on_select`), which run before
        the page does. Another neuron that is chosen without a list and row is a manual choice.
        """
        now: Selection = st.session_state.get(SELECTION, self.selection)
        if prompt is not None:
            now = replace(now, prompt=prompt)
        if view is not None:
            now = replace(now, view=view)
        if layer is not None or neuron is not None:
            at = NeuronAt(now.layer if layer is None else layer, now.neuron if neuron is None else neuron)
            if at != now.at or list is not None or row is not None:
                stem = list if list is not None else now.list if row is not None else MANUAL
                now = replace(now.with_neuron(at, row), list=stem)
        elif list is not None:
            now = replace(now, list=list, row=row)
        st.session_state[SELECTION] = now
        st.session_state[MOVED] = True


Render = Callable[[PageContext], None]
