"""Reading the next neuron of a list before it is asked for, so that whoever walks along the list need not wait for it.

This only brings its bytes into the system's memory. What is shown is read, checked and cached as ever.
"""

from __future__ import annotations

import threading

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads as loads
from neuron_signatures.dashboard.shell.list_walk import passing, step
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.sidebar import filters
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

_STOP = "stop_reading_ahead"


def read_next(ctx: PageContext) -> None:
    """Begin with the next neuron of the selected list, if there is one; what the session read ahead before ends."""
    if _STOP in st.session_state:
        st.session_state[_STOP].set()
    ref = ctx.listed
    if ref is None or ctx.selection.row is None:
        return
    ranked = loads.ranked(ctx.run_dir, ctx.results_key, ref)
    index = step(passing(ranked, filters(), ctx.run), ctx.selection.row, 1)
    if index is not None:
        st.session_state[_STOP] = threading.Event()
        at = ranked.row(index).at
        threading.Thread(target=read_ahead, args=(ctx.run, at, st.session_state[_STOP]), daemon=True).start()


def read_ahead(run: Run, at: NeuronAt, stop: threading.Event) -> None:
    """Read a neuron's activations on every prompt, until `stop`. Faults are left to whoever opens the neuron."""
    try:
        with run.another_reader() as reader:
            for prompt in reader.prompts:
                if stop.is_set():
                    return
                reader.acts(prompt, layer=at.layer, neuron=at.neuron)
    except (ProjectError, OSError):
        return
