"""Which neurons and windows the second pass keeps, from the records of the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from neuron_signatures.records.pass2.plan import SecondPlan, neuron_names, rows_of, sampled_windows
from neuron_signatures.records.pass2.storage import partial_neurons
from neuron_signatures.records.request import ChosenNeurons, SampleRequest
from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import RecordsMeta
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META, ROWS, SAMPLE, STRONGEST
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.records.writing import RowArrays


def chosen_pairs(chosen: ChosenNeurons, records: RecordsMeta) -> Int64[np.ndarray, "neuron 2"]:
    """Pairs of layer and neuron, ascending and each once.

    Raises `UsageError` for a neuron that has no records; of neurons that nobody named, those are left out.
    """
    wanted: Sequence[tuple[int, int]]
    if chosen.neurons is not None:
        wanted = chosen.neurons
    else:
        indices = range(records.d_mlp) if chosen.indices is None else chosen.indices
        wanted = [(layer, neuron) for layer in records.layers for neuron in indices]
    layers = set(records.layers)
    recorded = [at for at in wanted if at[0] in layers and at[1] < records.d_mlp]
    if chosen.explicit and len(recorded) < len(wanted):
        layer, neuron = next(at for at in wanted if at[0] not in layers or at[1] >= records.d_mlp)
        where = f"{chosen.chosen_by}: L{layer}N{neuron}"
        raise UsageError("this neuron has no records", where=where, next_step="Choose one of a recorded layer")
    return np.array(sorted(set(recorded)), dtype=np.int64).reshape(-1, 2)


def plan_second_pass(
    run_dir: Path, corpus: Corpus, neurons: Int64[np.ndarray, "neuron 2"], request: SampleRequest, batch_size: int
) -> SecondPlan:
    """The sample, and the windows in the lists of the chosen neurons, of all parts and both poles."""
    layers = {layer: row for row, layer in enumerate(read_meta(run_dir, RECORDS_META, RecordsMeta).layers)}
    with _open(run_dir, STRONGEST) as file:
        found = [file.read("window", layers[layer], neuron).reshape(-1) for layer, neuron in neurons.tolist()]
    windows = [w[w >= 0].astype(np.int64) for w in found]
    sample = sampled_windows(corpus.n_windows, request.windows, request.seed)
    return SecondPlan(corpus, neurons, sample, rows_of(windows, corpus), batch_size)


def stores(run_dir: Path, plan: SecondPlan) -> bool:
    """Whether the finished second pass of the run holds the neurons, windows and rows of the plan."""
    with _open(run_dir, SAMPLE) as sample, _open(run_dir, ROWS) as rows:
        return (
            np.array_equal(sample.read("neurons"), plan.neurons)
            and np.array_equal(sample.read("windows"), plan.sample)
            and np.array_equal(rows.read("window"), plan.rows.window)
        )


def refuse_other_partial(run_dir: Path) -> None:
    """Raise `UsageError` if a second pass was stopped that is for other neurons than the finished one."""
    partial = partial_neurons(run_dir)
    if partial is None:
        return
    with _open(run_dir, SAMPLE) as sample:
        finished = neuron_names(sample.read("neurons"))
    if partial != finished:
        what, where = "a second pass for other neurons was stopped here", str(run_dir / RECORDS)
        raise UsageError(what, where=where, next_step="Repeat its --neurons or --from with --resume")


def worst_difference(run_dir: Path, plan: SecondPlan, rows: RowArrays) -> float | None:
    """The largest difference between a value of the lists and the row, relative to the neuron's largest value.

    Another batch rounds differently: about 1e-6 in float32 and 1e-2 in bfloat16 is expected. None without rows.
    """
    layers = {layer: row for row, layer in enumerate(read_meta(run_dir, RECORDS_META, RecordsMeta).layers)}
    worst = None
    with _open(run_dir, STRONGEST) as file:
        for i, (layer, neuron) in enumerate(plan.neurons.tolist()):
            value, window, pos = (
                file.read(key, layers[layer], neuron).reshape(-1) for key in ("value", "window", "pos")
            )
            there = window >= 0
            if not there.any():
                continue
            first, stop = rows.first_row[i : i + 2]
            row = first + np.searchsorted(rows.window[first:stop], window[there])
            again = rows.acts[rows.start[row] + pos[there]]
            largest = float(np.abs(value[there]).max())
            found = float(np.abs(again - value[there]).max()) / largest if largest else 0.0
            worst = found if worst is None else max(worst, found)
    return worst


def _open(run_dir: Path, name: str) -> ArrayFile:
    """A file of the records. Raises `BadRunError` if it is a link that leads out of the run."""
    return ArrayFile(inside(run_dir, f"{RECORDS}/{name}"))
