"""Stage 8 from a model to tables and the record. What a stopped command has finished is not computed again."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.results import partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.stage_results import ResultRecord, ResultWriter, open_folder
from neuron_signatures.runs.units import need_neurons
from neuron_signatures.runs.versions import versions
from neuron_signatures.runs.weights.folder import (
    NEIGHBOUR_NULL,
    NEIGHBOURS,
    RANDOM,
    STATISTICS,
    WEIGHTS_FOLDER,
    Weight,
)
from neuron_signatures.weights.counts import CORPUS_RECORD, token_counts
from neuron_signatures.weights.facts import facts_of
from neuron_signatures.weights.forecast import Forecast, forecast
from neuron_signatures.weights.measure import LayerStatistics, Plan, measure
from neuron_signatures.weights.model_weights import ModelWeights, model_weights
from neuron_signatures.weights.nearest import Nearest, find_nearest
from neuron_signatures.weights.readout import Readout, TokenCounts, make_readout
from neuron_signatures.weights.request import Target, WeightsRequest
from neuron_signatures.weights.tables import WeightTables, neighbour_tables, statistics_tables

log = logging.getLogger(__name__)


class Computed(NamedTuple):
    """What is left when the model is gone."""

    layers: dict[int, LayerStatistics]
    nearest: dict[Weight, Nearest]
    n_layers: int
    d_mlp: int
    facts: dict[str, Any]
    warnings: list[str]
    partials: list[Partial]


class Finished(NamedTuple):
    """A result: its tables, and its record."""

    tables: WeightTables
    record: ResultRecord


def plan_weights(target: Target, request: WeightsRequest) -> Forecast:
    """What the command takes. Nothing is written."""
    model = target.load()
    weights = model_weights(model.hf)
    return _forecast(model, weights, request, _layers(weights, request), _kinds(weights, request))


def run_weights(target: Target, request: WeightsRequest, progress: ProgressOf) -> Run:
    """Compute and write. Returns the run.

    Raises `UsageError` for layers and weights that the model does not have, and the errors of loading and writing.
    """
    with contextlib.ExitStack() as stack:
        run, writer, found = _compute(stack, target, request, progress)
        gc.collect()  # the model, of which modules refer to each other: the tables of a large one need memory
        neurons, random, limits = statistics_tables(found.layers, request.rules, found.n_layers)
        layers = list(found.layers)
        tables = WeightTables(neurons, random, *neighbour_tables(found.nearest, layers, found.d_mlp))
        writer.table(STATISTICS, tables.neurons)
        writer.table(RANDOM, tables.random)
        writer.table(NEIGHBOURS, tables.neighbours)
        writer.table(NEIGHBOUR_NULL, tables.neighbour_null)
        facts = {**found.facts, **facts_of(tables, limits, request.rules)}
        writer.finish(
            settings={**request.settings(layers), "model_dtype": facts.pop("model_dtype")}, facts=facts,
            sources=[CORPUS_RECORD] if facts["n_counted_tokens"] is not None else [], warnings=found.warnings,
        )  # fmt: skip
        for partial in found.partials:
            partial.remove()
    return run


def read_finished(run: Run) -> Finished:
    """The result that a run has. Raises `UsageError` if it has none, `BadRunError` if it is damaged."""
    record = WEIGHTS_FOLDER.read_record(run.path, STATISTICS)
    stems = (STATISTICS, RANDOM, NEIGHBOURS, NEIGHBOUR_NULL)
    return Finished(WeightTables(*(WEIGHTS_FOLDER.read_table(run.path, stem) for stem in stems)), record)


def is_finished(run: Run, request: WeightsRequest, dtype: str | None) -> bool:
    """Whether the run has this result already. `dtype` None stands for any."""
    if STATISTICS not in WEIGHTS_FOLDER.finished(run.path):
        return False
    record = WEIGHTS_FOLDER.read_record(run.path, STATISTICS)
    wanted = request.settings(parse_layers(request.layers, run.manifest.n_layers))
    stored = {name: record.settings.get(name) for name in wanted}
    same_dtype = dtype is None or dtype == record.settings.get("model_dtype")
    same_run = record.run == DumpIdentity.model_validate(run_identity(run))
    new_corpus = not record.sources and (run.path / CORPUS_RECORD).is_file()
    if stored != wanted or not same_dtype or not same_run or new_corpus or WEIGHTS_FOLDER.outdated(run.path, record):
        return False
    log.info("the statistics are finished: read from %s (--overwrite computes them again)", WEIGHTS_FOLDER.folder)
    return True


def _compute(
    stack: contextlib.ExitStack, target: Target, request: WeightsRequest, progress: ProgressOf
) -> tuple[Run, ResultWriter, Computed]:
    """Everything that needs the model, which is released at the end."""
    model = target.load()
    weights = model_weights(model.hf)
    layers, kinds = _layers(weights, request), _kinds(weights, request)
    log.info("%s", _forecast(model, weights, request, layers, kinds).line())
    run = stack.enter_context(target.open_run())
    need_neurons(run, "stage 8")
    writer = stack.enter_context(open_folder(run, WEIGHTS_FOLDER, STATISTICS))
    counts = token_counts(run.path, len(weights.writes.head.weight))
    same = {"run": run_identity(run), "dtype": model.spec.dtype, "layers": layers, "seed": request.seed,
            "versions": versions()}  # fmt: skip
    readouts: list[Readout] = []

    def readout() -> Readout:
        with progress("tokens", len(weights.writes.head.weight)) as bar:
            found = make_readout(weights.writes.head.weight, weights.writes.final, _counted(counts), bar.advance)
        readouts.append(found)
        return found

    plan = Plan(tuple(layers), -(-request.n_random // len(layers)), request.seed)
    of_statistics = {**same, "n_random": plan.n_random, "counts": _digest(counts)}
    partials = [Partial(writer.files, partial_name(STATISTICS), of_statistics)]
    found = measure(weights, readout, plan, partials[0], progress)
    nearest: dict[Weight, Nearest] = {}
    for kind in kinds:
        partials.append(Partial(writer.files, partial_name(f"{NEIGHBOURS}_{kind}"), {**same, "top": request.top}))
        nearest[kind] = find_nearest(
            weights, layers, kind, top=request.top, n_permuted=request.n_permuted, seed=request.seed,
            partial=partials[-1], progress=progress,
        )  # fmt: skip
    facts = {
        "model_dtype": model.spec.dtype, "device": str(weights.device), "d_model": weights.d_model,
        "vocab": len(weights.writes.head.weight), "weights": list(weights.kinds),
        "n_counted_tokens": None if counts is None else int((counts > 0).sum()),
    }  # fmt: skip
    computed = Computed(
        found, nearest, weights.shape.n_layers, weights.shape.d_mlp, facts, _warnings(weights, found, counts), partials
    )
    return run, writer, computed


def _layers(weights: ModelWeights, request: WeightsRequest) -> list[int]:
    return parse_layers(request.layers, weights.shape.n_layers)


def _kinds(weights: ModelWeights, request: WeightsRequest) -> tuple[Weight, ...]:
    if request.neighbours is None:
        return weights.kinds
    for kind in request.neighbours:
        if kind not in weights.kinds:
            what = f"the MLPs of this model have no {kind}"
            raise UsageError(what, where="--neighbours", next_step=f"Use {', '.join(weights.kinds)} or none")
    return request.neighbours


def _forecast(
    model: LoadedModel, weights: ModelWeights, request: WeightsRequest, layers: Sequence[int], kinds: tuple[Weight, ...]
) -> Forecast:
    return forecast(
        weights, n_layers=len(layers), n_random=request.n_random, kinds=kinds, top=request.top,
        weights_bytes=sum(p.numel() * p.element_size() for p in model.hf.parameters()),
    )  # fmt: skip


def _counted(counts: Int64[np.ndarray, " vocab"] | None) -> TokenCounts | None:
    """The tokens that occur; None if there are fewer than two, whose counts have no correlation."""
    if counts is None or (counts > 0).sum() < 2:
        return None
    ids = np.flatnonzero(counts)
    return TokenCounts(torch.from_numpy(ids), torch.from_numpy(counts[ids]))


def _digest(counts: Int64[np.ndarray, " vocab"] | None) -> str | None:
    return None if counts is None else hashlib.sha256(counts.tobytes()).hexdigest()


def _warnings(
    weights: ModelWeights, found: dict[int, LayerStatistics], counts: Int64[np.ndarray, " vocab"] | None
) -> list[str]:
    out = []
    if "gate" in weights.kinds:
        out.append("gated MLPs: to change the sign of w_in and w_out together changes nothing, so prediction and "
                   "suppression are told apart only by the sign of activations (stage 4)")  # fmt: skip
    silent = sum(int((~np.isfinite(layer.neurons[:, 1])).sum()) for layer in found.values())
    if silent:
        out.append(f"{silent} neurons have output weights of 0: their statistics are null")
    if counts is None:
        out.append("the run has no corpus (poc4_extract_records): no neuron can be of the class token_frequency")
    return out
