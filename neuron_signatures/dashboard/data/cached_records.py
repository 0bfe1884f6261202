"""Cached reads of the records of a corpus, keyed as the other results."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import streamlit as st

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.views.at_large.windows import GroupedWindows, grouped_windows
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.about import records_facts
from neuron_signatures.views.records.commands import has_records
from neuron_signatures.views.records.evidence import Evidence, SampleEvidence, evidence, sample_evidence
from neuron_signatures.views.records.neuron_order import CorpusNeurons

T = TypeVar("T")


class _Open:
    """Open records with a lock: sessions share them, and a reader is not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        self.records = Records.open(run_dir)
        self.lock = threading.Lock()
        weakref.finalize(self, self.records.close)


@st.cache_resource(show_spinner=False, max_entries=2)
def _opened(run_dir: Path, results_key: str) -> _Open:
    return _Open(run_dir)


@st.cache_resource(show_spinner=False, max_entries=64)
def evidence_at(run_dir: Path, results_key: str, at: NeuronAt, parts: tuple[Part, ...]) -> Evidence | None:
    """Shared by all sessions; read only. None if the records do not hold this neuron.

    Raises `UsageError` if the run has no records, `BadRunError` for damaged ones.
    """
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return evidence(opened.records, at, parts=parts) if opened.records.holds(*at) else None


@st.cache_resource(show_spinner=False, max_entries=32)
def sample_at(
    run_dir: Path, results_key: str, at: NeuronAt, parts: tuple[Part, ...], seed: int
) -> SampleEvidence | None:
    """As `evidence_at`; None if the activations of this neuron are not kept."""
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return sample_evidence(opened.records, at, parts=parts, seed=seed)


@st.cache_resource(show_spinner=False, max_entries=16)
def _meaning_windows(run_dir: Path, results_key: str, at: NeuronAt) -> list[GroupedWindows]:
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return grouped_windows(opened.records, run_dir, at)


def meaning_windows_at(run_dir: Path, results_key: str, at: NeuronAt) -> list[GroupedWindows]:
    """The strongest windows of a neuron by their meaning. Raises as `evidence_at`."""
    found: list[GroupedWindows] = _meaning_windows(run_dir, results_key, at)
    return found


def use_records(run_dir: Path, results_key: str, read: Callable[[Records], T]) -> T:
    """What `read` returns of the open records, which no other session uses meanwhile. Raises as `evidence_at`."""
    opened: _Open = _opened(run_dir, results_key)
    with opened.lock:
        return read(opened.records)


@st.cache_data(show_spinner=False, max_entries=8)
def facts_of(run_dir: Path, results_key: str) -> list[tuple[str, str]]:
    """What the records are of. Raises as `evidence_at`."""
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return records_facts(opened.records)


@st.cache_data(show_spinner=False, max_entries=8)
def layers_of(run_dir: Path, results_key: str) -> list[int]:
    """The recorded layers. Raises as `evidence_at`."""
    opened: _Open = _opened(run_dir, results_key)
    return list(opened.records.layers)


@st.cache_data(show_spinner=False, max_entries=8)
def kept_neurons(run_dir: Path, results_key: str) -> list[tuple[int, int]]:
    """The neurons whose activations are kept. Raises as `evidence_at`."""
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return list(opened.records.sampled_neurons)


@st.cache_resource(show_spinner=False, max_entries=2)
def neurons_of(run_dir: Path, results_key: str) -> CorpusNeurons:
    """All recorded neurons, shared by all sessions; read only. Raises as `evidence_at`."""
    opened = _opened(run_dir, results_key)
    with opened.lock:
        return CorpusNeurons(opened.records.neurons())


def first_neuron(run: Run, results_key: str) -> NeuronAt:
    """The first neuron whose activations are kept, else the first of the run; for a run without prompts."""
    try:
        if has_records(run.path):
            opened = _opened(run.path, results_key)
            with opened.lock:
                kept = [NeuronAt(*at) for at in opened.records.sampled_neurons if run.stores(*at)]
                if kept:
                    return kept[0]
    except ProjectError:
        pass  # the views report it
    return NeuronAt(run.layers[0], 0)
