"""The context of a view: the run, the selection, and `choose`, which changes the selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import streamlit as st

from neuron_signatures.dashboard.live.server_at import ServerAt
from neuron_signatures.dashboard.shell.state import MANUAL, MOST_PINS, Selection, View
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.ranked import ListRef
from neuron_signatures.views.search_run.asked import Asked

SELECTION = "selection"
"""Session key of the `Selection`."""
MOVED = "moved"
"""Session key, set when the page changed the selection and the address is not yet updated."""


@dataclass(frozen=True)
class PageContext:
    """Created for every script run; `run` is this thread's reader, which is closed at the end."""

    run: Run
    selection: Selection
    lists: tuple[ListRef, ...]
    """The ranked lists of the run, from `views.lists.list_files.list_refs`."""
    data_key: str
    """Changes when the manifest or a tensor file changes; the key of cached activations."""
    results_key: str
    """Changes when a file of a stage that writes whole results changes, such as one in `analysis/`."""
    explanations_key: str = ""
    """Changes when a file in `explanations/` changes."""
    scores_key: str = ""
    """Changes when a file in `scores/` changes."""
    server: ServerAt = field(default_factory=ServerAt)
    """For the view Live, searches by meaning, and edits of a circuit; nothing is sent to it elsewhere."""

    @property
    def run_dir(self) -> Path:
        return self.run.path

    @property
    def has_prompts(self) -> bool:
        """False for a run that holds only records of a corpus."""
        return bool(self.run.prompts)

    @property
    def prompt(self) -> PromptRecord:
        """The selected prompt of a run that has prompts."""
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
        view: View | None = None, list: str | None = None, row: int | None = None, corpus: bool | None = None,
    ) -> None:  # fmt: skip
        """Change the given parts of the selection. Only for callbacks (`on_click`, `on_select`).

        Choosing another neuron without a list and row makes the selection manual.
        """
        now: Selection = st.session_state.get(SELECTION, self.selection)
        if prompt is not None:
            now = replace(now, prompt=prompt)
        if view is not None:
            now = replace(now, view=view)
        if corpus is not None:
            now = replace(now, corpus=corpus)
        if layer is not None or neuron is not None:
            at = NeuronAt(now.layer if layer is None else layer, now.neuron if neuron is None else neuron)
            if at != now.at or list is not None or row is not None:
                stem = list if list is not None else now.list if row is not None else MANUAL
                now = replace(now.with_neuron(at, row), list=stem)
        elif list is not None:
            now = replace(now, list=list, row=row)
        st.session_state[SELECTION] = now
        st.session_state[MOVED] = True

    def pin(self, at: NeuronAt) -> None:
        """Add the neuron to those that are compared, or remove it. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        pins = tuple(p for p in now.pins if p != at) if at in now.pins else (*now.pins, at)[:MOST_PINS]
        st.session_state[SELECTION] = replace(now, pins=pins)
        st.session_state[MOVED] = True

    def open_result(self, stem: str, pair: int | None = None) -> None:
        """Show an intervention, or one pair of it. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        st.session_state[SELECTION] = replace(now, view=View.INTERVENTIONS, result=stem, pair=pair)
        st.session_state[MOVED] = True

    def open_scores(self, scored: str, score: str = "") -> None:
        """Show a scored set, and one of its scores; by default its first. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        st.session_state[SELECTION] = replace(now, view=View.SCORES, scored=scored, score=score)
        st.session_state[MOVED] = True

    def open_cluster(self, clustering: str, cluster: int | None = None) -> None:
        """Show a clustering, and one of its clusters; by default that of the selected neuron. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        st.session_state[SELECTION] = replace(now, view=View.CLUSTERS, clustering=clustering, cluster=cluster)
        st.session_state[MOVED] = True

    def open_comparison(self, name: str) -> None:
        """Show a comparison with other runs. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        st.session_state[SELECTION] = replace(now, view=View.DRIFT, comparison=name)
        st.session_state[MOVED] = True

    def open_circuit(self, name: str, nodes: Sequence[str] = ()) -> None:
        """Show a circuit with these nodes selected. Only for callbacks."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        st.session_state[SELECTION] = replace(now, view=View.CIRCUIT, circuit=name, nodes=tuple(nodes))
        st.session_state[MOVED] = True

    @property
    def now(self) -> Selection:
        """The selection as callbacks changed it since this was made."""
        now: Selection = st.session_state.get(SELECTION, self.selection)
        return now

    def search(self, asked: Asked) -> None:
        """Show the Search view with this. Only for callbacks."""
        st.session_state[SELECTION] = replace(self.now, view=View.SEARCH, asked=asked)
        st.session_state[MOVED] = True

    def open_stored(self, at: NeuronAt, view: View = View.NEURON) -> None:
        """Select a neuron, unless the run does not store it. Only for callbacks."""
        if self.run.stores(*at):
            self.choose(layer=at.layer, neuron=at.neuron, view=view)

    def open_on_corpus(self, at: NeuronAt | None = None) -> None:
        """Show a neuron, by default the selected one, on the records of the corpus. Only for callbacks.

        Does nothing for a neuron that the run does not store.
        """
        at = at or self.at
        if self.run.stores(*at):
            self.choose(layer=at.layer, neuron=at.neuron, view=View.NEURON, corpus=True)

    def open_neuron(self, at: NeuronAt, *, list: str | None = None, row: int | None = None) -> None:
        """As `choose`, and show the Neuron view."""
        self.choose(layer=at.layer, neuron=at.neuron, view=View.NEURON, list=list, row=row)
