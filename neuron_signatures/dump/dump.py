"""Running a planned dump and writing the run folder, shard by shard."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from neuron_signatures.dump.batches import plan_batches
from neuron_signatures.dump.forward import PromptActs, fitted_batch_tokens, run_batch
from neuron_signatures.dump.plan import DumpPlan
from neuron_signatures.dump.record import build_manifest, check_manifest_size
from neuron_signatures.models.bridge import open_capture
from neuron_signatures.models.capture import Capture
from neuron_signatures.models.load import LoadedModel, load_model
from neuron_signatures.models.provenance import provenance
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError, escape_controls
from neuron_signatures.runs.files import free_bytes, human_bytes
from neuron_signatures.runs.journal import PromptOutcome
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.writer import RunWriter, check_target, open_writer, refuse_differences, tidy

log = logging.getLogger(__name__)


@runtime_checkable
class Progress(Protocol):
    """Shows the progress of a dump, for example as a bar."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None: ...


MakeProgress = Callable[[int], Progress]


@dataclass(frozen=True)
class DumpSummary:
    """The result of a dump. `wall_seconds` and the rate are of this process, from the first batch to the manifest."""

    run: str
    prompts: int
    failed: int
    tokens: int
    bytes: int
    nonfinite_values: int
    shards: int
    shards_kept: int
    """Shards that were finished by an earlier, stopped process."""
    wall_seconds: float
    tokens_per_second: float

    def lines(self) -> list[str]:
        """The same as text."""
        failed = f", {self.failed} FAILED" if self.failed else ""
        nonfinite = f", {self.nonfinite_values} values NaN or infinite" if self.nonfinite_values else ""
        kept = f", {self.shards_kept} of {self.shards} files already present" if self.shards_kept else ""
        rate = f", {self.tokens_per_second:.0f} tokens/s in {self.wall_seconds:.1f} s" if self.wall_seconds else ""
        return [
            f"prompts  {self.prompts}{failed}{nonfinite}",
            f"tokens   {self.tokens}{rate}",
            f"size     {human_bytes(self.bytes)} in {self.shards} {'file' if self.shards == 1 else 'files'}{kept}",
            f"run      {escape_controls(self.run)}",
        ]


def dump(plan: DumpPlan, progress: MakeProgress) -> DumpSummary:
    """Run the model over the plan's prompts and write the run folder.

    Everything that can be checked is checked before the folder is touched. `progress` receives the total number of
    tokens and then the number of finished ones. Raises the project's errors.
    """
    config = plan.config
    mode = config.mode
    if mode == "resume" and (complete := _already_complete(plan)) is not None:
        return complete
    check_manifest_size(plan)
    finished = check_target(config.out_dir, mode, settings=plan.settings)
    _check_disk_space(plan, finished or 0)
    torch.manual_seed(config.seed)
    # If a stopped dump has finished all shards, only the manifest is missing: no model is needed.
    loaded = None if finished == len(plan.shards) else _load(plan)
    if loaded is not None:
        _try_first(plan, loaded)
    facts = provenance(loaded.model.device, loaded.model.attn_implementation, config.flags_given) if loaded else {}
    if notice := plan.bos_notice():
        log.info("%s: %s", config.model.name, notice)
    log.info("writing to %s", config.out_dir)
    start = time.perf_counter()
    with open_writer(config.out_dir, mode, settings=plan.settings, facts=facts) as writer:
        ids = [[plan.prompts[i].prompt.id for i in members] for members in plan.shards]
        todo = [n for n in range(len(plan.shards)) if not writer.holds(n, plan.file_of(n), ids[n])]
        kept = len(plan.shards) - len(todo)
        if todo:
            _write_shards(plan, loaded or _load(plan), writer, todo, progress)
        manifest = build_manifest(plan, writer)
        writer.finish(manifest)
    wall = time.perf_counter() - start
    done_tokens = sum(plan.prompts[i].seq_len for n in todo for i in plan.shards[n])
    return _summary(plan, manifest, kept=kept, wall_seconds=round(wall, 3), rate=round(done_tokens / wall, 1))


def _summary(plan: DumpPlan, m: Manifest, *, kept: int, wall_seconds: float = 0.0, rate: float = 0.0) -> DumpSummary:
    return DumpSummary(
        run=str(plan.config.out_dir), prompts=m.n_prompts, failed=len(m.failed_prompts), tokens=m.n_tokens,
        bytes=sum(f.bytes for f in m.files), nonfinite_values=sum(p.nonfinite for p in m.prompts),
        shards=len(plan.shards), shards_kept=kept, wall_seconds=wall_seconds, tokens_per_second=rate,
    )  # fmt: skip


class _Loaded(NamedTuple):
    model: LoadedModel
    capture: Capture


def _load(plan: DumpPlan) -> _Loaded:
    config = plan.config
    quantized = "" if config.model.quantization == "none" else f", {config.model.quantization}"
    log.info("loading %s (%s%s)", config.model.name, config.model.dtype, quantized)
    model = load_model(config.model, quiet=config.quiet)
    longest = max(plan.prompts, key=lambda p: p.seq_len)  # attention does nothing on a single token
    return _Loaded(model, open_capture(model, plan.layers, config.backend, token_ids=longest.token_ids))


def _try_first(plan: DumpPlan, loaded: _Loaded) -> None:
    """Run one token, to refuse a model whose neurons cannot be captured before the folder is touched."""
    with loaded.capture as capture:
        planned = (plan.info.layers, plan.info.d_mlp)
        if capture.shape != planned:
            raise UsageError(
                f"the weights have {capture.shape.n_layers} layers of {capture.shape.d_mlp} neurons, "
                f"but the config says {planned}",
                where=f"model {plan.config.model.name}",
            )
        list(run_batch(loaded.model, capture, {0: plan.prompts[0].token_ids[:1]}, [0], plan.config.save_dtype))


def _write_shards(
    plan: DumpPlan, loaded: _Loaded, writer: RunWriter, todo: list[int], make_progress: MakeProgress
) -> None:
    """Compute the shards in `todo`. The next one is computed while one is written, so at most two are in memory."""
    model, save_dtype = loaded.model, plan.config.save_dtype
    max_tokens = fitted_batch_tokens(model, len(plan.layers), plan.info.d_mlp, save_dtype)
    n_tokens = sum(plan.prompts[i].seq_len for n in todo for i in plan.shards[n])
    with (
        _frozen_heap(),
        loaded.capture as capture,
        make_progress(n_tokens) as progress,
        ThreadPoolExecutor(1) as pool,
    ):
        pending: Future[None] | None = None
        for n in todo:
            start = time.perf_counter()
            acts = _compute_shard(plan, model, capture, n, max_tokens, progress)
            tensors, outcomes = _split_outcomes(plan, acts)
            if pending is not None:
                pending.result()
            wall = time.perf_counter() - start
            pending = pool.submit(writer.write_shard, n, plan.file_of(n), tensors, outcomes, wall)
            del acts, tensors
        if pending is not None:
            pending.result()


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Exclude existing objects from garbage collection, which would take a tenth of the time on the demo model."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _compute_shard(
    plan: DumpPlan, model: LoadedModel, capture: Capture, shard: int, max_tokens: int, progress: Progress
) -> list[PromptActs]:
    """Activations of the prompts of a shard, in input order."""
    members = plan.shards[shard]
    ids = {i: plan.prompts[i].token_ids for i in members}
    max_prompts = plan.config.max_prompts
    batches = plan_batches(
        [len(ids[i]) for i in members],
        max_tokens=max_tokens if max_prompts is None else 1 << 62,
        max_prompts=max_prompts,
    )
    done: list[PromptActs] = []
    for batch in batches:
        for item in run_batch(model, capture, ids, [members[b] for b in batch], plan.config.save_dtype):
            done.append(item)
            progress.advance(item.acts.shape[1])
    return sorted(done, key=lambda item: item.index)


def _split_outcomes(plan: DumpPlan, acts: Iterable[PromptActs]) -> tuple[dict[str, Tensor], list[PromptOutcome]]:
    """The tensors to store, and the outcome of each prompt (`--check_finite` fails those with NaN or infinity)."""
    tensors: dict[str, Tensor] = {}
    outcomes = []
    for item in acts:
        prompt_id = plan.prompts[item.index].prompt.id
        failed = None
        if item.nonfinite:
            log.warning("%s: %d of %d values are NaN or infinite", prompt_id, item.nonfinite, item.acts.numel())
            if plan.config.check_finite:
                failed = f"{item.nonfinite} values are NaN or infinite"
        if failed is None:
            tensors[prompt_id] = item.acts
        outcomes.append(PromptOutcome(prompt_id=prompt_id, nonfinite=item.nonfinite, failed=failed))
    return tensors, outcomes


def _check_disk_space(plan: DumpPlan, finished: int) -> None:
    needed = sum(plan.bytes_of(i) for members in plan.shards[finished:] for i in members)
    free = free_bytes(plan.config.out_dir)
    if needed > free:
        raise EnvironmentProblem(
            f"not enough disk space: {human_bytes(needed)} needed, {human_bytes(free)} free",
            where=str(plan.config.out_dir),
            next_step="Free some space, or choose another --out_dir (--overwrite keeps the old run until the end)",
        )


def _already_complete(plan: DumpPlan) -> DumpSummary | None:
    """The summary of a complete run with these settings; None if there is no complete run.

    Raises `UsageError` if the run has other settings, and `BadRunError` if it is broken.
    """
    path = plan.config.out_dir
    if not Run.is_complete(path):
        return None
    with Run.open(path) as run:
        m = run.manifest
        before = {**{k: m.flags_resolved.get(k) for k in plan.settings}, "backend": m.backend}
        refuse_differences(before, plan.settings, path)
        for name in run.file_names():
            if faults := run.check_file(name, check="sha256"):
                raise BadRunError(faults[0], next_step="Repeat the dump with --overwrite")
        tidy(path)
        log.info("%s is already complete", path)
        return _summary(plan, m, kept=len(plan.shards))
