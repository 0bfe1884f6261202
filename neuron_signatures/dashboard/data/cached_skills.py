"""Tables of `skills/` in memory, keyed by the stamps of the results. Do not change what is returned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.skills.meta import CollectMeta, ResultMeta
from neuron_signatures.runs.skills.names import Mode
from neuron_signatures.runs.skills.tables import read_most_specific, read_record, read_skill_table

if TYPE_CHECKING:
    import pandas as pd

MOST_SPECIFIC = 200
"""Units per source and class that are shown."""


def skill_table(ctx: PageContext, stem: str) -> pd.DataFrame:
    """Raises `UsageError` if its mode is not finished, `BadRunError` if it is damaged."""
    frame: pd.DataFrame = _table(ctx.run_dir, ctx.results_key, stem)
    return frame


def most_specific(ctx: PageContext) -> pd.DataFrame:
    """Raises as `skill_table`."""
    frame: pd.DataFrame = _specific(ctx.run_dir, ctx.results_key)
    return frame


def skill_record(ctx: PageContext, mode: Mode) -> CollectMeta | ResultMeta:
    """Raises as `skill_table`."""
    record: CollectMeta | ResultMeta = _record(ctx.run_dir, ctx.results_key, mode)
    return record


@st.cache_resource(show_spinner=False, max_entries=32)
def _table(run_dir: Path, results_key: str, stem: str) -> pd.DataFrame:
    return read_skill_table(run_dir, stem)


@st.cache_resource(show_spinner=False, max_entries=4)
def _specific(run_dir: Path, results_key: str) -> pd.DataFrame:
    return read_most_specific(run_dir, MOST_SPECIFIC)


@st.cache_resource(show_spinner=False, max_entries=16)
def _record(run_dir: Path, results_key: str, mode: Mode) -> CollectMeta | ResultMeta:
    return read_record(run_dir, mode)
