"""The table of signatures with its filters."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.list_walk import left_out_note, stored
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.signatures.data import SignatureFilter, matching
from neuron_signatures.dashboard.widgets.elements import table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.coords import NeuronAt

_MOST_ROWS = 300
_POLES = {"both": "", "+": "+", "-": "-"}


def table_panel(ctx: PageContext, classes: Sequence[str]) -> None:
    st.markdown("#### Neurons")
    every = cached_reads.signature_table(ctx.run_dir, ctx.results_key)
    wanted = _filter(ctx, classes)
    passed = matching(every, wanted)
    rows = passed.filter(stored(ctx.run, passed["layer"].to_numpy(), passed["neuron"].to_numpy()))
    n = rows.num_rows
    limit = f"; the {_MOST_ROWS} largest peaks are shown" if n > _MOST_ROWS else ""
    st.caption(f"{n:,} of {count_of(every.num_rows, 'row')}{limit}. {left_out_note(passed.num_rows - n)}")
    if n == 0:
        st.info("No row passes the filters.")
        return
    shown = rows.slice(0, _MOST_ROWS).to_pylist()
    frame = signature_frame(shown)
    table(frame, "sig_table", help=_COLUMN_HELP, height=380,
          on_row=lambda i: ctx.open_neuron(NeuronAt(shown[i]["layer"], shown[i]["neuron"])))  # fmt: skip
    with st.popover("Export"):
        downloads(frame, "signatures", "sig")


def _filter(ctx: PageContext, classes: Sequence[str]) -> SignatureFilter:
    st.session_state.setdefault("ui_sig_class", [c for c in classes if c in ("semantic", "say_x", "relationship")])
    st.session_state["ui_sig_class"] = [c for c in st.session_state["ui_sig_class"] if c in classes]
    st.session_state["ui_sig_layers"] = [n for n in st.session_state.get("ui_sig_layers", []) if n in ctx.run.layers]
    st.session_state.setdefault("ui_sig_pole", "both")
    columns = st.container(key="controls_signatures").columns([3, 2, 1.4, 2], vertical_alignment="bottom")
    chosen = columns[0].multiselect("Class", classes, key="ui_sig_class", placeholder="all", format_func=brief)
    layers = columns[1].multiselect("Layers", ctx.run.layers, key="ui_sig_layers", placeholder="all")
    pole = columns[2].selectbox("Pole", list(_POLES), key="ui_sig_pole", help="The sign of the activations.")
    text = columns[3].text_input("Name or token", key="ui_sig_text", placeholder="part of it")
    return SignatureFilter(tuple(chosen), tuple(layers), _POLES[pole], text.strip())


def signature_frame(rows: list[dict]) -> pd.DataFrame:
    """Rows of the signature table for display."""
    frame = pd.DataFrame(
        {
            "neuron": [f"L{r['layer']}N{r['neuron']}{r['pole']}" for r in rows],
            "class": [brief(r["class"]) for r in rows],
            "name": [visible(r["name"] or "") for r in rows],
            "peak token": [visible(r["mode_peak_token"] or "") for r in rows],
            "consistency": [r["main_consistency"] for r in rows],
            "from": [r["main_consistency_low"] for r in rows],
            "to": [r["main_consistency_high"] for r in rows],
            "n": [r["n_texts"] for r in rows],
            "active in": [r["n_active"] for r in rows],
            "largest peak": [r["max_peak"] for r in rows],
            "functional": [r["func_vs_sem"] for r in rows],
            "seed cosine": [r["seed_cosine"] for r in rows],
        }
    )
    numbers = ["consistency", "from", "to", "largest peak", "functional", "seed cosine"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


_COLUMN_HELP = {
    "consistency": "Share of the n texts whose peak is on the most frequent peak token; `from` and `to` are the "
    "95 % Wilson interval.",
    "from": "Lower end of the interval.",
    "to": "Upper end of the interval.",
    "n": "Number of different texts (up to the peak) that the class, the name and the shares rest on.",
    "active in": "Prompts whose peak is at least half of the largest peak.",
    "functional": "Share of the peaks on functional tokens (of, is, the, ...).",
    "seed cosine": "Cosine similarity with the activations on the seed prompt, over shared tokens.",
    "largest peak": "Largest activation with the pole's sign.",
}
