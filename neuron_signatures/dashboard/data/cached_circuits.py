"""Circuits in memory, keyed by the stamps of the results. Do not change what is returned. All raise as readers.

Groups are not kept: people change them, also in other viewers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.circuits.folder import COMMON, circuit_folder
from neuron_signatures.runs.circuits.reader import StoredCircuit, read_circuit
from neuron_signatures.runs.stage_results import ResultRecord
from neuron_signatures.views.circuit.checks import Checks, read_checks
from neuron_signatures.views.circuit.common_checks import CommonCheckRow, read_common_checks
from neuron_signatures.views.circuit.filled import with_promotes
from neuron_signatures.views.circuit.lists import CircuitIndex
from neuron_signatures.views.circuit.opened import CircuitRef, circuit_refs

if TYPE_CHECKING:
    import pandas as pd


def refs(ctx: PageContext) -> list[CircuitRef]:
    """All folders of circuits, also damaged ones; never raises."""
    found: list[CircuitRef] = _refs(ctx.run_dir, ctx.results_key)
    return found


def circuit(ctx: PageContext, name: str) -> StoredCircuit:
    """The circuit, with the tokens that its neurons promote if the run knows them."""
    found: StoredCircuit = _circuit(ctx.run_dir, ctx.results_key, name)
    return found


def index(ctx: PageContext, name: str) -> CircuitIndex:
    found: CircuitIndex = _index(ctx.run_dir, ctx.results_key, name)
    return found


def checks(ctx: PageContext, name: str) -> Checks | None:
    """What tests of the circuit found; None if it was not tested."""
    found: Checks | None = _checks(ctx.run_dir, ctx.results_key, name)
    return found


def common_table(ctx: PageContext, name: str, stem: str) -> pd.DataFrame:
    frame: pd.DataFrame = _common_table(ctx.run_dir, ctx.results_key, name, stem)
    return frame


def common_record(ctx: PageContext, name: str) -> ResultRecord:
    found: ResultRecord = _common_record(ctx.run_dir, ctx.results_key, name)
    return found


def common_checks(ctx: PageContext, name: str) -> tuple[CommonCheckRow, ...]:
    """What the common neurons keep of each prompt; empty if they were not tested."""
    found: tuple[CommonCheckRow, ...] = _common_checks(ctx.run_dir, ctx.results_key, name)
    return found


@st.cache_resource(show_spinner=False, max_entries=8)
def _common_checks(run_dir: Path, results_key: str, name: str) -> tuple[CommonCheckRow, ...]:
    return read_common_checks(run_dir, name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _refs(run_dir: Path, results_key: str) -> list[CircuitRef]:
    return circuit_refs(run_dir)


@st.cache_resource(show_spinner=False, max_entries=6)
def _circuit(run_dir: Path, results_key: str, name: str) -> StoredCircuit:
    stored = read_circuit(run_dir, name)
    return replace(stored, graph=with_promotes(stored.graph, cached_reads.descriptions(run_dir, results_key)))


@st.cache_resource(show_spinner=False, max_entries=6)
def _index(run_dir: Path, results_key: str, name: str) -> CircuitIndex:
    return CircuitIndex(_circuit(run_dir, results_key, name).graph)


@st.cache_resource(show_spinner=False, max_entries=8)
def _checks(run_dir: Path, results_key: str, name: str) -> Checks | None:
    return read_checks(run_dir, name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _common_table(run_dir: Path, results_key: str, name: str, stem: str) -> pd.DataFrame:
    return circuit_folder(name).read_table(run_dir, stem)


@st.cache_resource(show_spinner=False, max_entries=8)
def _common_record(run_dir: Path, results_key: str, name: str) -> ResultRecord:
    return circuit_folder(name).read_record(run_dir, COMMON)
