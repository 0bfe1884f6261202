"""Downloads of the Query view, with a record of the question."""

from __future__ import annotations

from typing import Any

import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.data.sample import with_record
from neuron_signatures.dashboard.shell.page_context import PageContext


def of_run(ctx: PageContext) -> dict[str, Any]:
    """The fields of a download's record that name the run."""
    m = ctx.run.manifest
    return {"run": ctx.run_dir.name, "run_created_at_utc": m.created_at_utc, "model": m.model_name}


def offer(frame: Any, record: dict[str, Any], name: str) -> None:
    with st.popover("Download"):
        downloads(with_record(frame, record), name, f"{name}_downloads")
        st.caption("Column `how` records the question and the settings (first row).")
