"""One neuron by its weights: its numbers, and its neighbours to step to."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_stage import at_large
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.weights.frames import neighbour_null
from neuron_signatures.dashboard.widgets.elements import facts, lead, show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.stage_results import ResultRecord
from neuron_signatures.runs.weights.folder import WEIGHTS
from neuron_signatures.views.at_large.neuron import Neighbour, WeightStatistics
from neuron_signatures.views.at_large.texts import CLASS_HELP, class_words, short
from neuron_signatures.views.neurons.descriptions import shown_tokens

WEIGHT_WORDS = {"output": "output weights", "input": "input weights", "gate": "gate weights"}
_N_TOKENS = 6
_HELP = {"neuron": "Click to select it.", "cosine": "Of the two weight vectors; negative: opposite directions."}


def neuron_card(ctx: PageContext, record: ResultRecord) -> None:
    known = at_large(ctx, ctx.at)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        lead(ctx.at.label if known.weights is None else f"{ctx.at.label}: {class_words(known.weights.cls)}")
        st.button("Open", key="weights_open", on_click=lambda: ctx.choose(view=View.NEURON),
                  help="Everything about this neuron, in the Neuron view.")  # fmt: skip
    show_lines("Something cannot be read.", known.problems)
    if known.weights is None:
        st.caption("The statistics do not include this neuron.")
        return
    if known.weights.cls in CLASS_HELP and known.weights.cls != "none":
        st.caption(CLASS_HELP[known.weights.cls])
    facts([*_written(ctx), *number_facts(known.weights)])
    kinds = [w for w in WEIGHTS if any(n.weight == w for n in known.neighbours)]
    if not kinds:
        return
    st.markdown("##### Neighbours", help="The neurons of the whole model with the largest |cosine| of weights.")
    if st.session_state.get("ui_weights_kind") not in kinds:
        st.session_state["ui_weights_kind"] = kinds[0]
    chosen = st.segmented_control(
        "Weights", kinds, key="ui_weights_kind", format_func=lambda w: WEIGHT_WORDS[w], label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    own = sorted((n for n in known.neighbours if n.weight == chosen), key=lambda n: n.rank)
    table(neighbour_frame(own), f"weights_neighbours_{chosen}", help=_HELP, formats={"cosine": "%+.3f"}, at_most=390,
          on_row=lambda i: ctx.open_stored(own[i].at, View.WEIGHTS))  # fmt: skip
    if null := neighbour_null(record, chosen):
        small(null)


def _written(ctx: PageContext) -> list[tuple[str, str]]:
    """The tokens that a positive activation promotes and suppresses, if the run has write scores."""
    with contextlib.suppress(ProjectError, OSError):
        writes = cached_reads.writes_at(ctx.run_dir, ctx.results_key, ctx.at)
        if writes is not None:
            return [("promotes at +", shown_tokens((t.token for t in writes.promotes), n=_N_TOKENS)),
                    ("suppresses at +", shown_tokens((t.token for t in writes.suppresses), n=_N_TOKENS))]  # fmt: skip
    return []


def number_facts(w: WeightStatistics) -> list[tuple[str, str]]:
    """The statistics as labels and numbers; those of a gate only if there is one."""
    pairs = [
        ("over the vocabulary", f"kurtosis {short(w.logit_kurtosis)}, skewness {short(w.logit_skewness, '+.3g')}, "
                                f"variance {short(w.logit_variance)}, mean {short(w.logit_mean, '+.2g')}"),
        ("norms", f"out {short(w.norm_out)}, in {short(w.norm_in)}" +
                  ("" if w.norm_gate is None else f", gate {short(w.norm_gate)}")),
        ("cosines", f"in and out {short(w.cos_in_out, '+.3f')}" + ("" if w.cos_gate_out is None else
                    f", gate and out {short(w.cos_gate_out, '+.3f')}, in and gate {short(w.cos_in_gate, '+.3f')}")),
        ("weakest 2 %", f"{short(w.null_share, '.2%')} of w_out, in the weakest directions of the unembedding"),
    ]  # fmt: skip
    if w.frequency_correlation is not None:
        pairs.append(("token frequency", f"r {w.frequency_correlation:+.3f}"))
    return pairs


def neighbour_frame(found: Sequence[Neighbour]) -> pd.DataFrame:
    return pd.DataFrame({
        "rank": [n.rank for n in found], "neuron": [n.at.label for n in found],
        "cosine": pd.array([n.cosine for n in found], dtype="Float64"),
    })  # fmt: skip
