"""Map view: neurons as points, close if they are active at the same tokens; clusters and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data.cached_reads import ranked
from neuron_signatures.dashboard.data.neuron_stats import NeuronStats
from neuron_signatures.dashboard.data.sample import MAX_NEURONS, MAX_TOKENS, Sample
from neuron_signatures.dashboard.map.cached_work import (
    Grouped,
    SampleSettings,
    grouped_of,
    index_of,
    peaks_of,
    reduced_of,
    sample_of,
    table_of,
    tsne_of,
)
from neuron_signatures.dashboard.map.clusters import Method, Settings
from neuron_signatures.dashboard.map.figures import (
    Colours,
    by_cluster,
    by_number,
    by_score,
    by_token,
    by_word,
    hover_texts,
    pca_titles,
    scatter,
)
from neuron_signatures.dashboard.map.panels import clusters_panel, provenance
from neuron_signatures.dashboard.map.projection import ROWS, Reduced, Rows, largest_perplexity
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import BOS_HELP
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Int64
    from streamlit.delta_generator import DeltaGenerator

_MOST_BYTES = 500_000_000
"""Activations up to this size are read without a confirmation if the peaks stage has not run."""
_DEFAULTS: dict[str, Any] = {
    "ui_map_projection": "PCA", "ui_map_method": "k-means", "ui_map_k": 8, "ui_map_min_size": 10, "ui_map_seed": 0,
    "ui_map_neurons": MAX_NEURONS, "ui_map_tokens": MAX_TOKENS, "ui_map_rows": "standardised", "ui_bos": False,
    "ui_map_perplexity": 30, "ui_map_sweep": False,
}  # fmt: skip
_NONE = "none"


def render(ctx: PageContext) -> None:
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)
    settings, how, colour_selector = _controls()
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
    perplexity = _figure(ctx, settings, sample, reduced, grouped, colour_selector)
    provenance(ctx, settings, sample, reduced, grouped, perplexity)
    if grouped is not None:
        clusters_panel(ctx, settings, sample, reduced, grouped)
    elif how is not None:
        st.caption("Clusters need at least three neurons.")


def _controls() -> tuple[SampleSettings, Settings | None, DeltaGenerator]:
    """The settings, and the container for the colour selector, whose options are not known yet."""
    left, middle, number, colour, right = st.columns([1.1, 1.75, 0.95, 1.25, 0.9], vertical_alignment="bottom")
    left.radio(
        "Projection", ["PCA", "t-SNE"], key="ui_map_projection", horizontal=True,
        help="PCA preserves distances as well as two axes can. t-SNE preserves neighbours; distances between groups "
        "and their sizes are not meaningful.",
    )  # fmt: skip
    method = middle.radio(
        "Clusters", ["k-means", "HDBSCAN", _NONE], key="ui_map_method", horizontal=True,
        help="Computed in the space of the PCA components, not in the figure. k-means assigns every neuron to one of k "
        "clusters; HDBSCAN finds dense groups and labels the rest as noise.",
    )  # fmt: skip
    if method == "HDBSCAN":
        with number:
            _box("Minimum size", "ui_map_min_size", 2, 1000)
    elif method == "k-means":
        with number:
            _box("Clusters k", "ui_map_k", 2, 50)
    with right.popover("Settings", width="stretch"):
        st.radio(
            "Scaling of each neuron", list(ROWS), key="ui_map_rows",
            help="standardised: only the pattern over tokens matters. centred: the magnitude matters, too.",
        )  # fmt: skip
        _box("Maximum neurons", "ui_map_neurons", 2, MAX_NEURONS, "The neurons with the largest peaks are used.")
        _box("Maximum tokens", "ui_map_tokens", 2, MAX_TOKENS, "A random sample if the run has more.")
        _box("Seed", "ui_map_seed", 0, 2**31 - 1, "Seed of every random choice on this page.")
        _box(
            "Perplexity of t-SNE",
            "ui_map_perplexity",
            1,
            200,
            "Approximate number of neighbours that t-SNE takes into account.",
        )
        st.checkbox("Include the BOS token", key="ui_bos", help=BOS_HELP)
    state = st.session_state
    rows = cast(Rows, state["ui_map_rows"])
    sample = SampleSettings(
        bool(state["ui_bos"]), int(state["ui_map_neurons"]), int(state["ui_map_tokens"]), rows,
        int(state["ui_map_seed"]),
    )  # fmt: skip
    if method == _NONE:
        return sample, None, colour
    k, size = int(state["ui_map_k"]), int(state["ui_map_min_size"])
    return sample, Settings(cast(Method, method), k, size, sample.seed), colour


def _box(label: str, key: str, low: int, high: int, help: str | None = None) -> None:
    whole_number(label, key, low=low, high=high, default=_DEFAULTS[key], help=help)


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


def _figure(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped | None,
    colour_selector: DeltaGenerator,
) -> int | None:  # fmt: skip
    """Draw the map; returns the perplexity of t-SNE, None for PCA."""
    labels = None if grouped is None else grouped.clustering.labels
    colours = _colours(ctx, sample, labels, colour_selector)
    hover = hover_texts(sample, sample.peak_tokens, labels)
    points, titles, perplexity = reduced.coords[:, :2], pca_titles(reduced), None
    if st.session_state["ui_map_projection"] == "t-SNE":
        if largest_perplexity(len(sample.at)) < 1 or reduced.held is None:
            st.caption("t-SNE needs at least four distinct neurons; PCA is shown instead.")
        else:
            perplexity = min(int(st.session_state["ui_map_perplexity"]), largest_perplexity(len(sample.at)))
            points = tsne_of(ctx, s, sample, reduced, perplexity)
            titles = ("t-SNE 1 (no unit)", "t-SNE 2 (no unit)")
    figure = scatter(points, sample, colours, hover, titles, selected=ctx.at, units=perplexity is None)
    chart(ctx, figure, "map_chart", opens=View.NEURON)
    warning = "" if perplexity is None else " In t-SNE, distances between groups and their sizes are not meaningful."
    st.caption(
        f"Each point is a neuron; nearby neurons are active at the same tokens. Click a point to open it.{warning}"
    )
    return perplexity


def _colours(
    ctx: PageContext, sample: Sample, labels: Int64[np.ndarray, " neuron"] | None, where: DeltaGenerator
) -> Colours:
    listed = ctx.listed
    signatures = next((r for r in ctx.lists if r.kind == "signatures" and not r.problem), None)
    options = ["layer", "peak |act|", "token at the peak"]
    options = (["cluster"] if labels is not None else []) + options
    options += ["signature class"] if signatures else []
    options += ["score in the selected list"] if listed else []
    if st.session_state.get("ui_map_colour") not in options:
        st.session_state["ui_map_colour"] = options[0]
    chosen = where.selectbox("Colour", options, key="ui_map_colour")
    if chosen == "cluster" and labels is not None:
        return by_cluster(labels)
    if chosen == "layer":
        return by_number("layer", np.array([at.layer for at in sample.at], float))
    if chosen == "peak |act|":
        return by_number("peak |act|", sample.peak.astype(float))
    if chosen == "signature class" and signatures:
        found = ranked(ctx.run_dir, ctx.results_key, signatures)
        classes = found.table.column("class").to_pylist()
        by_neuron: dict[NeuronAt, str] = {}
        for layer, neuron, name in zip(found.layer.tolist(), found.neuron.tolist(), classes, strict=True):
            by_neuron.setdefault(NeuronAt(layer, neuron), name)  # the pole with the larger peak comes first
        return by_word("signature class", [by_neuron.get(at) for at in sample.at])
    if chosen == "score in the selected list" and listed:
        found = ranked(ctx.run_dir, ctx.results_key, listed)
        scores: dict[NeuronAt, float] = {}
        for layer, neuron, score in zip(found.layer.tolist(), found.neuron.tolist(), found.score, strict=True):
            scores.setdefault(NeuronAt(layer, neuron), float(score))
        return by_score("score", sample, scores)
    return by_token(sample.peak_tokens)
