"""What an extraction will take, before weights are loaded: tokens, time, bytes on disk and memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from neuron_signatures.models.info import weights_bytes
from neuron_signatures.models.load import find_device
from neuron_signatures.models.memory import free_memory
from neuron_signatures.records.corpus.blocks import BLOCK_BATCHES
from neuron_signatures.records.pass1.bins import N_MAGNITUDES
from neuron_signatures.records.pass1.plan import default_batch_size
from neuron_signatures.records.request import ExistingRun, RecordsRequest
from neuron_signatures.records.target_run import ModelPlan, plan_for_model, plan_for_run
from neuron_signatures.runs.files import free_bytes, human_bytes, human_seconds
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.names import CORPUS_META, PARTS, POLES, RECORDS
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.run import Run

_ENTRY_ON_DISK, _ENTRY_IN_MEMORY = 10, 18
_LISTS_IN_MEMORY = 1.5  # lists have room for candidates
_SUMS = 4 * 8
_OF_PEAK = 0.4
"""Share of a matrix product's speed that a forward pass with the accumulators reaches (measured: 0.3 to 0.5)."""
_PROCESS = 500 << 20
"""Python, torch and transformers themselves, in the memory of a CPU (measured)."""
_EXTREMA_OF_WINDOW, _ENTRIES_OF_DOCUMENT = 2 * 6, 2 * 10
"""Bytes per neuron, of both poles, while a block runs."""
_TOKEN_BYTES = 5  # an id, and its share of windows and documents


@dataclass(frozen=True)
class Forecast:
    """`n_tokens` and what follows from it are None if no limit is given and no corpus has been read. Bytes of the
    neurons that are kept whole are at most `sample_bytes`, and twice that while the final files are written. `seconds`
    are those of one shard; every shard stores a state of its own until the merge."""

    n_tokens: int | None
    n_neurons: int
    n_shards: int
    seconds: float | None
    positions_per_second: float
    disk_bytes: int
    sample_bytes: int
    memory_bytes: int
    free_disk: int
    free_memory: int | None

    @property
    def fits(self) -> bool:
        """Whether disk and memory suffice."""
        on_disk = self.disk_bytes + 2 * self.sample_bytes
        return on_disk <= self.free_disk and (self.free_memory is None or self.memory_bytes <= self.free_memory)

    def fields(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits}

    def lines(self) -> list[str]:
        tokens = "not known before the corpus is read (--max_tokens limits it)"
        rate = f"about {self.positions_per_second:,.0f} tokens/s, from a short matrix product"
        if self.n_tokens is not None and self.seconds is not None:
            what = "the first pass" if self.n_shards == 1 else f"each of {self.n_shards} shards of the first pass"
            tokens, rate = f"{self.n_tokens:,}", f"about {human_seconds(self.seconds)} for {what} ({rate})"
        free = "" if self.free_memory is None else f", {human_bytes(self.free_memory)} free"
        return [
            f"tokens   {tokens}",
            f"neurons  {self.n_neurons:,}",
            f"time     {rate}",
            f"disk     {human_bytes(self.disk_bytes)}, and at most {human_bytes(self.sample_bytes)} for neurons kept "
            f"whole (twice that while they are written); {human_bytes(self.free_disk)} free",
            f"memory   {human_bytes(self.memory_bytes)}{free}",
        ]


def forecast(request: RecordsRequest) -> Forecast:
    """Estimate a command. Loads no weights and writes nothing."""
    target = request.target
    if isinstance(target, ExistingRun):
        with Run.open(target.run_dir) as run:
            plan = plan_for_run(run, target.overrides, request.corpus.bos)
    else:
        plan = plan_for_model(target.model, request.corpus.bos, target.directions)
    n_tokens, n_shards = _tokens(request), request.first.shard.of if request.first.shard is not None else 1
    n_layers = len(request.first.layers or plan.layers)
    n_neurons = n_layers * plan.n_units
    entries = n_neurons * len(PARTS) * len(POLES) * request.first.top_k
    counts = n_neurons * len(PARTS) * (2 * N_MAGNITUDES * 4 + _SUMS)
    rate = _rate(plan)
    device = find_device(plan.spec.device)
    weights = weights_bytes(plan.info, plan.spec.dtype, plan.spec.quantization)
    return Forecast(
        n_tokens=n_tokens,
        n_neurons=n_neurons,
        n_shards=n_shards,
        seconds=None if n_tokens is None else n_tokens / n_shards / rate,
        positions_per_second=rate,
        disk_bytes=(1 + n_shards) * (entries * _ENTRY_ON_DISK + counts) + _TOKEN_BYTES * (n_tokens or 0),
        sample_bytes=_sample_bytes(request, n_tokens, n_layers, n_neurons),
        memory_bytes=int(
            weights
            + entries * _ENTRY_IN_MEMORY * _LISTS_IN_MEMORY
            + counts
            + _block_bytes(request, device.type, n_neurons)
            + (_PROCESS if device.type == "cpu" else 0)
        ),
        free_disk=free_bytes(request.run_dir),
        free_memory=free_memory(device, several=plan.spec.device_map is not None),
    )


def _tokens(request: RecordsRequest) -> int | None:
    settings = request.corpus.settings
    if (request.run_dir / RECORDS / CORPUS_META).exists() and not request.overwrite:
        return read_meta(request.run_dir, CORPUS_META, CorpusMeta).n_tokens
    limits = [settings.max_tokens]
    limits += [settings.max_windows * settings.sequence_length] if settings.max_windows else []
    known = [n for n in limits if n is not None]
    return min(known) if known else None


def _sample_bytes(request: RecordsRequest, n_tokens: int | None, n_layers: int, n_neurons: int) -> int:
    """At most `--sample_size`: a neuron has the sampled windows, and each of its strongest ones once."""
    chosen, length = request.sample.chosen, request.corpus.settings.sequence_length
    n = n_neurons
    if chosen.neurons is not None:
        n = len(chosen.neurons)
    elif chosen.indices is not None:
        n = n_layers * len(chosen.indices)
    sampled = request.sample.windows * length
    strongest = len(PARTS) * len(POLES) * request.first.top_k * length
    if n_tokens is not None:
        sampled, strongest = min(sampled, n_tokens), min(strongest, n_tokens)
    return min(request.sample.max_bytes, 4 * n * (sampled + strongest))


def _block_bytes(request: RecordsRequest, device_type: str, n_neurons: int) -> int:
    """Of the windows and documents of a block, for documents of half a window; shorter ones take up to twice that."""
    batch = request.first.batch_size or default_batch_size(device_type, request.corpus.settings.sequence_length)
    n_windows = 2 * BLOCK_BATCHES * batch
    return n_neurons * n_windows * (_EXTREMA_OF_WINDOW + _ENTRIES_OF_DOCUMENT)


def _rate(plan: ModelPlan) -> float:
    """Tokens per second, from the time of a matrix product of the model's size on its device."""
    device, rows = find_device(plan.spec.device), 1024
    dtype = torch.float32 if device.type == "cpu" or plan.spec.dtype == "fp32" else torch.bfloat16
    a = torch.ones(rows, plan.info.d_model, dtype=dtype, device=device)
    b = torch.ones(plan.info.d_model, plan.info.d_mlp, dtype=dtype, device=device)
    float((a @ b)[0, 0])
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < 0.3:
        float((a @ b)[0, 0])
        n += 1
    per_second = n * 2 * rows * plan.info.d_model * plan.info.d_mlp / (time.perf_counter() - start)
    return _OF_PEAK * per_second / (2 * plan.info.linear_parameters)
