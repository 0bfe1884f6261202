"""Prefetch of the next neuron of a list, in a thread.

This only fills the page cache of the operating system; the neuron itself is read and checked as usual.
"""

from __future__ import annotations

import threading

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.list_walk import passing, step
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.sidebar import filters
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

_STOP = "stop_reading_ahead"


def read_next(ctx: PageContext) -> None:
    """Start to prefetch the next neuron of the selected list, if there is one; stops the session's earlier prefetch."""
    if _STOP in st.session_state:
        st.session_state[_STOP].set()
    ref = ctx.listed
    if ref is None or ctx.selection.row is None:
        return
    ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    index = step(passing(ranked, filters(), ctx.run), ctx.selection.row, 1)
    if index is not None:
        st.session_state[_STOP] = threading.Event()
        at = ranked.row(index).at
        threading.Thread(target=read_ahead, args=(ctx.run, at, st.session_state[_STOP]), daemon=True).start()


def read_ahead(run: Run, at: NeuronAt, stop: threading.Event) -> None:
    """Read a neuron's activations on every prompt until `stop` is set. Opening the neuron reports any errors."""
    try:
        with run.another_reader() as reader:
            for prompt in reader.prompts:
                if stop.is_set():
                    return
                reader.acts(prompt, layer=at.layer, neuron=at.neuron)
    except (ProjectError, OSError):
        return
