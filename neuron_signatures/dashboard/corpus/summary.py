"""What the records of a run are of, for the Overview."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data import cached_records
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import facts, show_error
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.views.records.commands import has_records


def corpus_summary(ctx: PageContext) -> None:
    """Nothing for a run without records, whose command stands among the results."""
    if not has_records(ctx.run_dir):
        return
    st.markdown("#### Records of a corpus")
    try:
        facts(cached_records.facts_of(ctx.run_dir, ctx.results_key))
    except (BadRunError, UsageError) as e:
        show_error(e)
        return
    st.button(
        f"Open {ctx.at.label} on the corpus", key="open_corpus",
        on_click=ctx.open_on_corpus,
    )  # fmt: skip
