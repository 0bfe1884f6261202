"""Comparisons in memory, keyed by the stamps of the results. Do not change what is returned. All raise as readers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.comparisons.folder import comparison_folder
from neuron_signatures.views.comparisons.cloud import Cloud, read_cloud
from neuron_signatures.views.comparisons.course import (
    Checkpoint,
    CkaPoint,
    NeuronPoint,
    neuron_course,
    of_pair,
    read_checkpoints,
    read_cka,
)
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd


def checkpoints(ctx: PageContext, name: str) -> list[Checkpoint]:
    found: list[Checkpoint] = _checkpoints(ctx.run_dir, ctx.results_key, name)
    return found


def cka(ctx: PageContext, name: str) -> list[CkaPoint]:
    found: list[CkaPoint] = _cka(ctx.run_dir, ctx.results_key, name)
    return found


def pair(ctx: PageContext, name: str, stem: str, a: int, b: int) -> pd.DataFrame:
    """The rows about two runs, without the whole table in memory."""
    frame: pd.DataFrame = _pair(ctx.run_dir, ctx.results_key, name, stem, a, b)
    return frame


def cloud_of(ctx: PageContext, name: str) -> Cloud:
    found: Cloud = _cloud(ctx.run_dir, ctx.results_key, name)
    return found


def course(ctx: PageContext, name: str, at: NeuronAt) -> list[NeuronPoint]:
    found: list[NeuronPoint] = _course(ctx.run_dir, ctx.results_key, name, at)
    return found


@st.cache_resource(show_spinner=False, max_entries=8)
def _checkpoints(run_dir: Path, results_key: str, name: str) -> list[Checkpoint]:
    return read_checkpoints(run_dir, name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _cka(run_dir: Path, results_key: str, name: str) -> list[CkaPoint]:
    return read_cka(run_dir, name, read_checkpoints(run_dir, name))


@st.cache_resource(show_spinner=False, max_entries=6)
def _pair(run_dir: Path, results_key: str, name: str, stem: str, a: int, b: int) -> pd.DataFrame:
    return of_pair(comparison_folder(name).iter_table(run_dir, stem), a, b)


@st.cache_resource(show_spinner=False, max_entries=4)
def _cloud(run_dir: Path, results_key: str, name: str) -> Cloud:
    return read_cloud(run_dir, name, read_checkpoints(run_dir, name))


@st.cache_resource(show_spinner=False, max_entries=64)
def _course(run_dir: Path, results_key: str, name: str, at: NeuronAt) -> list[NeuronPoint]:
    return neuron_course(run_dir, name, read_checkpoints(run_dir, name), at)
