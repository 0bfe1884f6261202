"""Running the first pass: blocks of whole documents, checkpoints, and what a stopped pass goes on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import Capture, output_projections, pad_batch
from neuron_signatures.models.directions import layer_devices
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.provenance import device_name
from neuron_signatures.records.corpus.blocks import Block, blocks, longest_window, shard_blocks, span
from neuron_signatures.records.pass1.layer import LayerRecords
from neuron_signatures.records.pass1.plan import Batch, BlockPlan
from neuron_signatures.records.pass1.state import Header, State, load_state, save_state, state_files
from neuron_signatures.records.units import RunUnits, open_units
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import Backend
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.sharding.shard import WHOLE, Shard
from neuron_signatures.runs.stopping import hold_stop
from neuron_signatures.runs.writer import refuse_differences

log = logging.getLogger(__name__)

_STOP_SECONDS = 20.0
_MADE_ON = ("devices", "attention")


@dataclass(frozen=True)
class PassSettings:
    """What the numbers of a first pass depend on besides the model and the corpus."""

    layers: tuple[int, ...]
    top_k: int
    batch_size: int
    """Full windows that run together. The last bits of activations depend on it."""

    def record(self) -> dict[str, Any]:
        return {**self.__dict__, "layers": list(self.layers)}


@dataclass(frozen=True)
class FirstPass:
    """One pass over the blocks of a shard; `facts` identify the model and the corpus."""

    run_dir: Path
    model: LoadedModel
    backend: Backend
    corpus: Corpus
    settings: PassSettings
    facts: dict[str, Any]
    shard: Shard = WHOLE
    checkpoint_seconds: float = 120.0
    units: RunUnits | None = None
    """Directions instead of neurons."""

    @property
    def all_settings(self) -> dict[str, Any]:
        return {**self.facts, **self.settings.record()}

    def blocks(self) -> list[Block]:
        found = blocks(self.corpus, self.settings.batch_size)
        return shard_blocks(self.corpus, found, self.shard)

    @property
    def file(self) -> Path:
        """The file of its state."""
        files = state_files(self.run_dir)
        return files.folder / files.name(self.shard)

    def save(self, state: State) -> None:
        save_state(self.run_dir, self.file.name, state)


@torch.inference_mode()
def run_first_pass(work: FirstPass, progress: ProgressOf) -> Header:
    """Run what is left of the pass and save its state; the same blocks always give the same bits on one machine.

    After a stop signal the current block is finished, if that takes no more than `_STOP_SECONDS`, and saved; else the
    last checkpoint stays, as it does after `EnvironmentProblem`, which is raised if memory or disk space runs out.
    """
    own = work.blocks()
    of_text = longest_window(work.corpus)
    with open_units(work.model, work.settings.layers, work.backend, work.units, token_ids=of_text) as capture:
        header, layers = _begin(work, own, capture.shape.d_mlp)
        todo = own[header.next - header.first :]
        if not own:  # a shard without blocks is finished too
            work.save(State(header, layers))
        with progress("tokens", sum(_n_counted(work, b) for b in todo)) as bar, hold_stop(_STOP_SECONDS) as stop:
            saved = start = time.monotonic()
            for block in todo:
                plan = _plan(work, block)
                _run_block(work, capture, plan, layers, bar)
                now = time.monotonic()
                header = header.model_copy(update={
                    "next": block.number + 1, "n_tokens": header.n_tokens + plan.n_counted(plan.windows),
                    "seconds": header.seconds + now - start,
                })  # fmt: skip
                start = now
                if header.finished or stop.wanted or now - saved >= work.checkpoint_seconds:
                    with stop.saving():
                        work.save(State(header, layers))
                    saved = start = time.monotonic()
                if stop.wanted:
                    break
    return header


def _run_block(work: FirstPass, capture: Capture, plan: BlockPlan, layers: Sequence[LayerRecords], bar: Bar) -> None:
    for layer in layers:
        layer.begin_block(plan)
    for slab in plan.slabs():
        for layer in layers:
            layer.begin_slab(slab)
        for batch in slab.batches:
            _run_batch(work, capture, plan, batch, layers)
            bar.advance(plan.n_counted(batch.windows))
        for layer in layers:
            layer.end_slab(plan, slab)
    for layer in layers:
        layer.end_block(plan)


def _run_batch(
    work: FirstPass, capture: Capture, plan: BlockPlan, batch: Batch, layers: Sequence[LayerRecords]
) -> None:
    inputs = plan.inputs(batch)
    padded = pad_batch(inputs, device=work.model.device)

    def take(row: int, acts: Tensor) -> None:
        layers[row].add_batch(plan, batch, acts)

    with memory_faults(work_on(work.model.hf, f"a batch of {len(inputs)} windows (--batch_size)", inputs[0])):
        capture.run(padded.input_ids, padded.attention_mask, take)


def _begin(work: FirstPass, own: Sequence[Block], n_neurons: int) -> State:
    """The saved state, if there is one of the same pass, else an empty one."""
    first, stop = span(own)
    header = Header(
        settings=work.all_settings, first=first, stop=stop, next=first, n_tokens=0, seconds=0.0,
        devices=[device_name(work.model.device)], attention=[work.model.attn_implementation],
    )  # fmt: skip
    devices = list(_devices(work))
    if work.file.exists():
        found = load_state(work.run_dir, work.file.name, work.corpus, devices)
        refuse_other_settings(found.header, header, work.file)
        if found.header.next > found.header.first:
            log.info("going on after %d of %d blocks", found.header.next - first, len(own))
        both = {of: list(dict.fromkeys([*getattr(found.header, of), *getattr(header, of)])) for of in _MADE_ON}
        return State(found.header.model_copy(update=both), found.layers)
    return State(header, [LayerRecords(n_neurons, work.settings.top_k, device) for device in devices])


def refuse_other_settings(found: Header, wanted: Header, path: Path) -> None:
    """Raise `UsageError` if a stored pass has other settings than this one."""
    if found.version != wanted.version:
        what = f"has version {found.version}, this program writes {wanted.version}"
        raise BadRunError(what, where=str(path), next_step="Remove this file to start anew")
    before, now = ({**h.settings, "blocks": [h.first, h.stop]} for h in (found, wanted))
    next_step = "Repeat the command with those settings, or remove this file to start anew"
    refuse_differences(before, now, path, what="was begun with other settings", next_step=next_step)


def _plan(work: FirstPass, block: Block) -> BlockPlan:
    meta = work.corpus.meta
    return BlockPlan(work.corpus, block, work.settings.batch_size, int(meta.prepend_bos), meta.seed)


def _n_counted(work: FirstPass, block: Block) -> int:
    return _plan(work, block).n_counted(_plan(work, block).windows)


def _devices(work: FirstPass) -> Iterator[torch.device]:
    if work.units is not None:
        yield from layer_devices(work.model.hf, work.settings.layers)
        return
    projections = output_projections(work.model.hf)
    yield from (next(projections[layer].parameters()).device for layer in work.settings.layers)
