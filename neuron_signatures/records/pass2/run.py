"""Running the second pass, and writing what the chosen neurons did."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import Capture, pad_batch
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.records.corpus.blocks import longest_window, model_inputs
from neuron_signatures.records.pass2.plan import SecondPlan, neuron_names
from neuron_signatures.records.pass2.storage import PartialValues
from neuron_signatures.records.units import RunUnits, open_units
from neuron_signatures.runs.manifest import Backend
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.writing import RowArrays, SampleArrays

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecondPass:
    """A planned second pass; `facts` are what its values depend on besides the plan."""

    run_dir: Path
    model: LoadedModel
    backend: Backend
    plan: SecondPlan
    facts: dict[str, Any]
    checkpoint_seconds: float
    units: RunUnits | None = None
    """Directions instead of neurons."""

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(np.unique(self.plan.neurons[:, 0]).tolist())

    def settings(self) -> dict[str, Any]:
        plan = self.plan
        return {
            **self.facts,
            "batch_size": plan.batch_size,
            "neurons": neuron_names(plan.neurons),
            "n_sampled": len(plan.sample),
            "n_rows": len(plan.rows.window),
        }


@torch.inference_mode()
def fill_values(work: SecondPass, progress: ProgressOf) -> PartialValues:
    """Run every window of the plan and store its values; a stopped pass goes on where it was saved."""
    plan = work.plan
    shape = (len(plan.neurons), int(plan.sample_starts[-1]))
    found = PartialValues(work.run_dir, work.settings(), shape, int(plan.rows.start[-1]))
    todo = plan.batches[found.n_done :]
    lengths = plan.corpus.window_length
    of_text = longest_window(plan.corpus)
    with (
        open_units(work.model, work.layers, work.backend, work.units, token_ids=of_text) as capture,
        progress("tokens", int(sum(lengths[b].sum() for b in todo))) as bar,
    ):
        saved = time.monotonic()
        for n, batch in enumerate(todo, start=found.n_done + 1):
            _run_batch(work, capture, batch, found)
            bar.advance(int(lengths[batch].sum()))
            if time.monotonic() - saved >= work.checkpoint_seconds:
                found.save(n)
                saved = time.monotonic()
    found.save(len(plan.batches))
    return found


def arrays_of(plan: SecondPlan, values: PartialValues) -> tuple[SampleArrays, RowArrays]:
    """The final arrays; their values are still the mapped files."""
    neurons = plan.neurons.astype(np.int32)
    sample = SampleArrays(neurons, plan.sample.astype(np.int32), plan.sample_starts, values.sample)
    rows = plan.rows
    return sample, RowArrays(neurons, rows.first_row, rows.window.astype(np.int32), rows.start, values.rows)


def _run_batch(work: SecondPass, capture: Capture, batch: np.ndarray, values: PartialValues) -> None:
    plan = work.plan
    inputs = model_inputs(plan.corpus, batch)
    n_front = int(plan.corpus.meta.prepend_bos)
    padded = pad_batch(inputs, device=work.model.device)

    def take(row: int, acts: Tensor) -> None:
        members = np.flatnonzero(plan.neurons[:, 0] == capture.layers[row])
        index = torch.from_numpy(plan.neurons[members, 1]).to(acts.device)
        found = acts.index_select(2, index).float().cpu().numpy()
        _store(plan, batch, members, found[:, n_front:], values)

    with memory_faults(work_on(work.model.hf, f"a batch of {len(inputs)} windows (--batch_size)", inputs[0])):
        capture.run(padded.input_ids, padded.attention_mask, take)


def _store(plan: SecondPlan, batch: np.ndarray, members: np.ndarray, acts: np.ndarray, values: PartialValues) -> None:
    """Store the activations `[window, pos, neuron]` of the neurons `members`, which are consecutive."""
    first, stop = int(members[0]), int(members[-1]) + 1
    order, windows = plan.rows_by_window
    for i, window in enumerate(batch.tolist()):
        n = int(plan.corpus.window_length[window])
        of_window = acts[i, :n].T
        at = int(np.searchsorted(plan.sample, window))
        if at < len(plan.sample) and plan.sample[at] == window:
            values.sample[first:stop, plan.sample_starts[at] : plan.sample_starts[at + 1]] = of_window
        rows = order[slice(*np.searchsorted(windows, [window, window + 1]))]
        neuron = plan.neuron_of_row[rows]
        rows = rows[(neuron >= first) & (neuron < stop)]
        if len(rows):
            places = plan.rows.start[rows][:, None] + np.arange(n)
            values.rows[places] = of_window[plan.neuron_of_row[rows] - first]
