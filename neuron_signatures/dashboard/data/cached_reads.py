"""Cached reads for the views, keyed by the path, size and modification time of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.signatures.data import read_signatures
from neuron_signatures.runs.listing import RunSummary, list_runs
from neuron_signatures.runs.names import MANIFEST
from neuron_signatures.runs.result_records import ValidationRecord, another_dump, read_record
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.acts import LayerLine, counted, layer_lines
from neuron_signatures.views.changes import Stamp, stamp
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.effects import single_effects
from neuron_signatures.views.interventions.labels import InterventionRecord
from neuron_signatures.views.interventions.results import ResultRef, intervention_refs, read_intervention
from neuron_signatures.views.interventions.sheets import Sheet
from neuron_signatures.views.lists.effects import SampledEffects, read_effects
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import ListRef, RankedList
from neuron_signatures.views.lists.validated import Validated, landing_list, validations
from neuron_signatures.views.neurons.descriptions import Descriptions, read_descriptions
from neuron_signatures.views.neurons.facts import Signature, signature_of, write_scores_of
from neuron_signatures.views.neurons.writes import WriteScores, writes_of
from neuron_signatures.views.predictions import predictions

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float32


def key_of(path: Path, stamps: Mapping[str, Stamp]) -> str:
    """A cache key: a hash of the folder and the stamps."""
    what = repr((str(path), sorted(stamps.items())))
    return hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@st.cache_data(show_spinner=False, ttl=10, max_entries=4)
def runs_under(root: Path) -> list[RunSummary]:
    """The runs of a folder, including broken ones; refreshed after ten seconds."""
    return list(list_runs(root))


def open_run(path: Path) -> Run:
    """A reader of the run for this thread, to be closed by the caller; the manifest is read once."""
    shared: Run = _shared_run(path, stamp(path / MANIFEST))
    return shared.another_reader()


@st.cache_resource(show_spinner=False, max_entries=4)
def _shared_run(path: Path, manifest: Stamp) -> Run:
    return Run.open(path)


@st.cache_data(show_spinner=False, max_entries=8)
def lists_of(_run: Run, data_key: str, results_key: str) -> tuple[ListRef, ...]:
    return tuple(list_refs(_run.path, _run.manifest))


@st.cache_resource(show_spinner=False, max_entries=4)
def ranked(run_dir: Path, results_key: str, ref: ListRef) -> RankedList:
    """One list in memory, shared by all sessions; read only."""
    return read_list(run_dir, ref, descriptions(run_dir, results_key))


@st.cache_resource(show_spinner=False, max_entries=2)
def descriptions(run_dir: Path, results_key: str) -> Descriptions:
    """What the results say of every neuron, shared by all sessions; read only."""
    return read_descriptions(run_dir)


@st.cache_data(show_spinner=False, max_entries=8)
def validated(run_dir: Path, results_key: str, _lists: tuple[ListRef, ...]) -> dict[str, Validated]:
    """The validations of the lists, by stem."""
    return dict(validations(run_dir, _lists))


@st.cache_data(show_spinner=False, max_entries=8)
def first_list(run_dir: Path, results_key: str, _lists: tuple[ListRef, ...]) -> ListRef | None:
    """The list that is shown if none is selected."""
    return landing_list(run_dir, _lists)


@st.cache_data(show_spinner=False, max_entries=32)
def values_of(_run: Run, data_key: str, layer: int, neuron: int) -> list[Float32[np.ndarray, " pos"]]:
    """The neuron's activations on every prompt, in order."""
    return [_run.acts(p, layer=layer, neuron=neuron) for p in _run.prompts]


@st.cache_data(show_spinner=False, max_entries=8)
def counts_of(_run: Run, data_key: str, include_bos: bool) -> list[Bool[np.ndarray, " pos"]]:
    """Mask of the included positions of each prompt."""
    return [counted(_run, p, include_bos=include_bos) for p in _run.prompts]


@st.cache_data(show_spinner=False, max_entries=8)
def predictions_of(_run: Run, data_key: str, results_key: str) -> list[str]:
    """What the model predicted after each prompt, such as `→ ·Austin 99.5 %`; empty where no result records it."""
    found = predictions(_run.path, _run.manifest)
    texts = ((p, found.get(p.probe_id)) for p in _run.prompts)
    return ["" if known is None else known.text(p.seq_len - 1) for p, known in texts]


@st.cache_data(show_spinner=False, max_entries=8)
def prompt_labels(_run: Run, data_key: str, results_key: str) -> list[str]:
    """Number (from 0), id and prediction of each prompt, for display."""
    predicted = predictions_of(_run, data_key, results_key)
    return [
        "  ".join(filter(None, (str(i), brief(p.probe_id), predicted[i]))) for i, p in enumerate(_run.prompts)
    ]  # fmt: skip


@st.cache_data(show_spinner=False, max_entries=128)
def first_values_of(
    _run: Run, data_key: str, layer: int, neuron: int, n_prompts: int
) -> list[Float32[np.ndarray, " pos"]]:
    """As `values_of`, for the first prompts only."""
    return [_run.acts(p, layer=layer, neuron=neuron) for p in _run.prompts[:n_prompts]]


@st.cache_data(show_spinner=False, max_entries=16)
def layers_of(_run: Run, data_key: str, prompt: int, include_bos: bool) -> list[LayerLine]:
    return list(layer_lines(_run, _run.prompts[prompt], include_bos=include_bos))


@st.cache_data(show_spinner=False, max_entries=8)
def prompt_peaks(_run: Run, data_key: str, prompt: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per stored layer and position, the act of largest |act| and its neuron; NaN and -1 if none is finite."""
    return [_peaks(_run.acts(_run.prompts[prompt], layer=layer)) for layer in _run.layers]


@st.cache_data(show_spinner=False, max_entries=8)
def validation(_run: Run, data_key: str, results_key: str, stem: str) -> ValidationRecord:
    """The record of a validation, with a first warning if it is of another dump.

    Raises `UsageError` if it no longer exists, `BadRunError` if it is damaged.
    """
    record = read_record(_run.path, f"{stem}.json", ValidationRecord)
    doubt = another_dump(_run.manifest, record)
    return record.model_copy(update={"warnings": [doubt, *record.warnings]}) if doubt else record


@st.cache_resource(show_spinner=False, max_entries=4)
def sampled_effects(run_dir: Path, results_key: str, stem: str, metrics: tuple[str, ...]) -> SampledEffects:
    """Shared by all sessions; read only."""
    return read_effects(run_dir, stem, metrics)


@st.cache_data(show_spinner=False, max_entries=8)
def interventions(_run: Run, data_key: str, results_key: str) -> tuple[ResultRef, ...]:
    return tuple(intervention_refs(_run.path, _run.manifest))


@st.cache_resource(show_spinner=False, max_entries=8)
def intervention(run_dir: Path, results_key: str, stem: str) -> InterventionRecord:
    """The record of an intervention, shared by all sessions. Raises as `read_intervention`."""
    return read_intervention(run_dir, stem)


@st.cache_resource(show_spinner=False, max_entries=4)
def effects_of_neurons(run_dir: Path, results_key: str, stem: str) -> Sheet:
    """The effects of single neurons, shared by all sessions. Raises as `single_effects`."""
    return single_effects(run_dir, stem)


@st.cache_resource(show_spinner=False, max_entries=2)
def signature_table(run_dir: Path, results_key: str) -> pa.Table:
    """Shared by all sessions; read only."""
    return read_signatures(run_dir)


@st.cache_data(show_spinner=False, max_entries=64)
def signatures_at(run_dir: Path, results_key: str, at: NeuronAt) -> list[Signature]:
    """Both poles, `+` first; from the table in memory, for fast steps from neuron to neuron."""
    import pyarrow.compute as pc

    table = signature_table(run_dir, results_key)
    rows = table.filter(pc.and_(pc.equal(table["layer"], at.layer), pc.equal(table["neuron"], at.neuron)))
    return sorted(signature_of(r) for r in rows.to_pylist())


@st.cache_data(show_spinner=False, max_entries=64)
def write_scores_at(run_dir: Path, results_key: str, at: NeuronAt) -> list[WriteScores]:
    return write_scores_of(run_dir, at)


@st.cache_data(show_spinner=False, max_entries=64)
def writes_at(run_dir: Path, results_key: str, at: NeuronAt) -> WriteScores | None:
    """What the neuron writes according to the weights alone; None if that has not been computed."""
    return writes_of(run_dir, at)


def _peaks(acts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.where(np.isfinite(acts), np.abs(acts), -1.0)
    neuron = size.argmax(axis=1)
    rows = np.arange(len(acts))
    found = size[rows, neuron] >= 0
    return np.where(found, acts[rows, neuron], np.nan), np.where(found, neuron, -1)
