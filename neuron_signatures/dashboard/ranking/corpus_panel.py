"""The neurons of a corpus as a table, in the order of their moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_records
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, show_error, small, table
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.views.records.commands import has_records, records_command
from neuron_signatures.views.records.neuron_order import ORDERS, CorpusNeuron, OrderBy

_MOST = 500
_NAMES: dict[OrderBy, str] = {
    "kurtosis": "kurtosis", "largest": "largest |act|", "rate_above": "share active", "mean": "|mean|",
}  # fmt: skip
_ORDER_HELP = (
    "kurtosis: of the distribution of activations; large for a neuron that is strong at few tokens. share active: of "
    "the tokens at which |act| is at least a tenth of the largest."
)
_FIND_HELP = "A token at the peaks, such as Texas or often:Texas; L3; a bound of the number in order, such as >100."
_COLUMN_HELP = {
    "neuron": "Click a cell of the row to open it on the corpus.",
    "most often at +": "The tokens at the peaks of the strongest windows, with the share of the first.",
    "most often at -": "The same for the smallest activations.",
    "explained at +": "The explanation to read, with its set or author.",
    "explained at -": "The same for the negative pole.",
    "kurtosis": "Of the part explain; 3 for a normal distribution.",
    "largest |act|": "Over the whole corpus.",
    "share active": "Share of the tokens at which |act| is at least a tenth of the largest, in the part explain.",
    "max": "Largest activation in the part explain.",
    "min": "Smallest activation in the part explain.",
    "mean": "Over the part explain.",
}


def corpus_panel(ctx: PageContext) -> None:
    if not has_records(ctx.run_dir):
        empty("This run has no records of a corpus yet. This command makes them:", records_command(ctx.run_dir))
        return
    left, right = st.columns([3, 1])
    left.text_input("Find", key="ui_corpus_find", placeholder="Texas   L3   >100", help=_FIND_HELP)
    right.selectbox("Order", ORDERS, key="ui_corpus_order", format_func=_NAMES.__getitem__, help=_ORDER_HELP)
    try:
        neurons = cached_records.neurons_of(ctx.run_dir, ctx.results_key)
        by = cast(OrderBy, st.session_state["ui_corpus_order"])
        rows = neurons.order(by, str(st.session_state["ui_corpus_find"] or ""))
        shown = [neurons.row(i) for i in rows[:_MOST].tolist()]
    except (BadRunError, UsageError) as e:
        show_error(e)
        return
    small(f"{len(shown):,} of {len(rows):,} that match, of {len(neurons):,} neurons; click a cell to open the neuron")
    if not shown:
        return
    frame = with_explanations(ctx, corpus_frame(shown), shown)
    table(
        frame, "corpus_neurons", help=_COLUMN_HELP, height=600, formats={"share active": "percent", **_FORMATS},
        widths=dict.fromkeys(("explained at +", "explained at -"), 240),
        on_row=lambda i: ctx.open_on_corpus(shown[i].at),
    )  # fmt: skip
    with st.popover("Export"):
        downloads(frame, "corpus_neurons", "corpus_neurons_export")


def with_explanations(ctx: PageContext, frame: pd.DataFrame, neurons: Sequence[CorpusNeuron]) -> pd.DataFrame:
    """The table with a column for each pole that has an explanation in some row, before the numbers."""
    for pole in POLES:
        texts = explained_in_words(ctx, [NeuronPole(*n.at, pole) for n in neurons])
        if any(texts):
            frame.insert(list(frame).index("kurtosis"), f"explained at {pole}", texts)
    return frame


_FORMATS = dict.fromkeys(("kurtosis", "largest |act|", "max", "min", "mean"), "%.4g")


def corpus_frame(neurons: Sequence[CorpusNeuron]) -> pd.DataFrame:
    """One row per neuron, for display."""
    numbers = {
        "kurtosis": [n.kurtosis for n in neurons],
        "largest |act|": [n.largest for n in neurons],
        "share active": [n.rate_above for n in neurons],
        "max": [n.max for n in neurons],
        "min": [n.min for n in neurons],
        "mean": [n.mean for n in neurons],
    }
    return pd.DataFrame(
        {
            "neuron": [n.at.label for n in neurons],
            "most often at +": [n.often_pos.text_with_share() for n in neurons],
            "most often at -": [n.often_neg.text_with_share() for n in neurons],
            **{name: pd.array(values, dtype="Float64").astype("float64") for name, values in numbers.items()},
            "state": [n.state for n in neurons],
        }
    )
