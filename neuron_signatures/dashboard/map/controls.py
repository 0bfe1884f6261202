"""The settings of the Map view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from neuron_signatures.dashboard.data.sample import MAX_NEURONS, MAX_TOKENS
from neuron_signatures.dashboard.map.cached_work import SampleSettings
from neuron_signatures.dashboard.map.clusters import Method, Settings
from neuron_signatures.dashboard.map.projection import ROWS, Rows
from neuron_signatures.dashboard.shell.panels import BOS_HELP
from neuron_signatures.dashboard.widgets.number_input import whole_number

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

_DEFAULTS: dict[str, Any] = {
    "ui_map_projection": "PCA", "ui_map_method": "k-means", "ui_map_k": 8, "ui_map_min_size": 10, "ui_map_seed": 0,
    "ui_map_neurons": MAX_NEURONS, "ui_map_tokens": MAX_TOKENS, "ui_map_rows": "standardised", "ui_bos": False,
    "ui_map_perplexity": 30, "ui_map_sweep": False,
}  # fmt: skip
_NONE = "none"


def controls() -> tuple[SampleSettings, Settings | None, DeltaGenerator]:
    """The settings, and the container for the colour selector, whose options are not known yet."""
    for key, value in _DEFAULTS.items():
        st.session_state.setdefault(key, value)
    row = st.container(key="controls_map")
    left, middle, number, colour, right = row.columns([1.1, 1.75, 0.95, 1.25, 0.9], vertical_alignment="bottom")
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
        perplexity_help = "Approximate number of neighbours that t-SNE takes into account."
        _box("Perplexity of t-SNE", "ui_map_perplexity", 1, 200, perplexity_help)
        st.checkbox("Include the first position (BOS)", key="ui_bos", help=BOS_HELP)
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
