"""Tables of `weights/`, `corpus_analysis/` and `comparisons/` in memory, keyed by the stamps of the results. Do not
change what is returned. All raise `UsageError` if the mode is not finished, `BadRunError` if it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.comparisons.folder import COMPARISON, comparison_folder
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, contrast_folder
from neuron_signatures.runs.stage_results import ResultRecord, StageFolder
from neuron_signatures.runs.weights.folder import STATISTICS, WEIGHTS_FOLDER
from neuron_signatures.views.at_large.neuron import AtLarge, read_at_large
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd


def weights_table(ctx: PageContext, stem: str = STATISTICS) -> pd.DataFrame:
    return _shared(ctx, WEIGHTS_FOLDER, stem)


def corpus_table(ctx: PageContext, stem: str) -> pd.DataFrame:
    return _shared(ctx, CORPUS_ANALYSIS_FOLDER, stem)


def comparison_table(ctx: PageContext, name: str, stem: str) -> pd.DataFrame:
    return _shared(ctx, comparison_folder(name), stem)


def contrast_table(ctx: PageContext, name: str) -> pd.DataFrame:
    return _shared(ctx, contrast_folder(name), "contrast")


def stage_record(ctx: PageContext, folder: StageFolder, mode: str) -> ResultRecord:
    found: ResultRecord = _record(ctx.run_dir, ctx.results_key, folder.folder, mode, folder)
    return found


def comparison_record(ctx: PageContext, name: str) -> ResultRecord:
    return stage_record(ctx, comparison_folder(name), COMPARISON)


def at_large(ctx: PageContext, at: NeuronAt) -> AtLarge:
    """What is known of a neuron; never raises."""
    found: AtLarge = _at_large(ctx.run_dir, ctx.results_key, at)
    return found


def _shared(ctx: PageContext, folder: StageFolder, stem: str) -> pd.DataFrame:
    frame: pd.DataFrame = _table(ctx.run_dir, ctx.results_key, folder.folder, stem, folder)
    return frame


@st.cache_resource(show_spinner=False, max_entries=24)
def _table(run_dir: Path, results_key: str, name: str, stem: str, _folder: StageFolder) -> pd.DataFrame:
    return _folder.read_table(run_dir, stem)


@st.cache_resource(show_spinner=False, max_entries=24)
def _record(run_dir: Path, results_key: str, name: str, mode: str, _folder: StageFolder) -> ResultRecord:
    return _folder.read_record(run_dir, mode)


@st.cache_resource(show_spinner=False, max_entries=64)
def _at_large(run_dir: Path, results_key: str, at: NeuronAt) -> AtLarge:
    return read_at_large(run_dir, at)
