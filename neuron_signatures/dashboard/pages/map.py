"""Map view: neurons as points, close if they are active at the same tokens; clusters and their tokens."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.neuron_stats import NeuronStats
from neuron_signatures.dashboard.data.sample import Sample
from neuron_signatures.dashboard.map.cached_work import (
    SampleSettings,
    grouped_of,
    index_of,
    peaks_of,
    reduced_of,
    sample_of,
    table_of,
)
from neuron_signatures.dashboard.map.controls import controls
from neuron_signatures.dashboard.map.figure_panel import figure_panel
from neuron_signatures.dashboard.map.panels import clusters_panel, provenance
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty

_MOST_BYTES = 500_000_000
"""Activations up to this size are read without a confirmation if the peaks stage has not run."""


def render(ctx: PageContext) -> None:
    settings, how, colour_selector = controls()
    stats = _stats(ctx, settings)
    if stats is None:
        return
    if index_of(ctx, include_bos=settings.include_bos).n_counted == 0:
        empty("This run has no token except the BOS.", why="Under Settings, the BOS token can be included.")
        return
    sample = sample_of(ctx, settings, stats)
    if len(sample.at) < 2:
        _too_few(sample)
        return
    reduced = reduced_of(ctx, settings, sample)
    grouped = None if how is None or len(sample.at) < 3 else grouped_of(ctx, settings, sample, reduced, how)
    perplexity = figure_panel(ctx, settings, sample, reduced, grouped, colour_selector)
    provenance(ctx, settings, sample, reduced, grouped, perplexity)
    if grouped is not None:
        clusters_panel(ctx, settings, sample, reduced, grouped)
    elif how is not None:
        st.caption("Clusters need at least three neurons.")


def _stats(ctx: PageContext, s: SampleSettings) -> NeuronStats | None:
    """Peaks of the neurons; None if a long pass over the activations still needs a confirmation."""
    found = table_of(ctx, include_bos=s.include_bos)
    if found.stats is not None:
        return found.stats
    size = ctx.run.nbytes()
    if size > _MOST_BYTES and st.session_state.get("map_read_all") != ctx.data_key:
        empty(
            "The map shows the neurons with the largest peaks, which have not been computed yet.",
            command=f"python -m neuron_signatures.poc2_analyze_run --run_dir {ctx.run_dir}",
            why=f"{found.why} The command stores them; the alternative is to read {size / 1e9:.1f} GB now.",
        )
        st.button("Read all activations", on_click=_agree, args=(ctx.data_key,))
        return None
    return peaks_of(ctx, include_bos=s.include_bos)


def _agree(data_key: str) -> None:
    st.session_state["map_read_all"] = data_key


def _too_few(sample: Sample) -> None:
    r = sample.record
    what = f"{'Only one' if sample.at else 'No'} neuron varies over these tokens."
    reasons = f"{r.n_constant:,} neurons have the same activation at every token"
    if r.n_nonfinite:
        reasons += f", {r.n_nonfinite:,} have NaN or infinite activations"
    if r.n_tokens == 1:
        reasons += "; a single token gives no pattern to compare"
    empty(f"{what} A map needs two.", why=f"{reasons}.")
