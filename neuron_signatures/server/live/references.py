"""Runs that a request names: opened below the runs root, checked to be of the loaded model, and their moments.

A mean is over the tokens of a run's prompts without first positions, or over those of its corpus records. These are the
references `run:DIR` and `records` of stage 2.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.corpus_moments import CorpusMoments, corpus_moments
from neuron_signatures.analysis.attribution.reference import RECORDS, Mean, records_mean, run_mean
from neuron_signatures.analysis.attribution.run_moments import RunMoments, run_moments
from neuron_signatures.models.rerun.checked_prompt import check_agreement, identity_differences, recompute, unchecked
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.names import MANIFEST
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.under_root import run_folder
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.stopping import check, progress_of
from neuron_signatures.server.runs.named import named

MIN_TOKENS: Final = 64
"""Fewest tokens of a mean, as stage 2's default of `--min_mean_tokens`."""
_MOST_KEPT: Final = 4
_OTHER: Final = "Use a run of the loaded model, or load the run's model"

_OTHER_RUN: Final = "Use another run, or another reference"

T = TypeVar("T")


class Moments(NamedTuple):
    """Mean and standard deviation of each neuron, NaN where a run does not store them, and over what, in words."""

    mean: Float[Tensor, "layer neuron"]
    std: Float[Tensor, "layer neuron"]
    source: str


class NamedMean(NamedTuple):
    """The mean that a reference names: run:NAME or records:NAME."""

    name: str
    mean: Mean


def named_mean(held: Held, text: str, stop: Stop, *, where: str) -> NamedMean:
    """The mean of `run:NAME` (or NAME) or `records:NAME`. Raises `UsageError` as the module says, and `BadRunError` for
    a damaged run."""
    kind, _, name = text.rpartition(":")
    if kind not in ("", "run", RECORDS) or not name:
        what = f"{text[:80]!r} is not run:NAME or records:NAME"
        raise UsageError(what, where=where, next_step="GET /v1/runs lists the runs")
    forms = "" if kind else "; run:NAME and records:NAME can be given"
    folder = _folder(held, name, where, more=forms)

    def read(run: Run) -> Mean:
        return records_mean(run) if kind == RECORDS else run_mean(run, progress=progress_of(stop))

    with named(folder, name):
        found = _of_run(held, folder, kind or "run", read, stop, where)
    if found.n_tokens < MIN_TOKENS:
        what = f"run {name} has {found.n_tokens} tokens for a mean, which needs {MIN_TOKENS}"
        raise UsageError(what, where=where, next_step="Use a larger run, or zero")
    return NamedMean(f"{kind or 'run'}:{name}", found)


def moments_of(held: Held, name: str, layers: Sequence[int], stop: Stop, *, where: str) -> Moments:
    """The moments over a run's corpus records, or over its prompts if it has no records. Layers that it does not have
    are NaN. Raises `UsageError` as the module says."""
    folder = _folder(held, name, where)
    with named(folder, name):
        by_records = Records.exist(folder)
        known, found, over = (_of_records if by_records else _of_prompts)(held, folder, layers, stop, where)
    if found.n_tokens < MIN_TOKENS:
        what = f"run {name} has {found.n_tokens} tokens, too few for a standard deviation ({MIN_TOKENS})"
        raise UsageError(what, where=where, next_step="Use a larger run, or none")
    mean, std = (torch.full(tuple(held.shape), torch.nan) for _ in range(2))
    mean[known], std[known] = (torch.from_numpy(x).float() for x in (found.mean, found.std))
    return Moments(mean, std, f"run {name}: {over}")


class _Found(NamedTuple):
    """Moments of `layers`, and over what."""

    layers: list[int]
    moments: CorpusMoments | RunMoments
    over: str


def _of_records(held: Held, folder: Path, layers: Sequence[int], stop: Stop, where: str) -> _Found:
    with Records.open(folder) as records:
        known = [layer for layer in layers if layer in records.layers]
    if not known:
        raise UsageError(f"run {folder.name} has no records of these layers", where=where, next_step=_OTHER_RUN)
    kind = (RECORDS, tuple(known))
    found = _of_run(held, folder, kind, lambda run: corpus_moments(run, known), stop, where)
    return _Found(known, found, found.source.text(found.n_tokens))


def _of_prompts(held: Held, folder: Path, layers: Sequence[int], stop: Stop, where: str) -> _Found:
    found = _of_run(held, folder, "prompts", lambda run: run_moments(run, progress_of(stop)), stop, where)
    return _Found(found.layers, found, f"{found.n_tokens} tokens of its prompts, without first positions")


def _folder(held: Held, name: str, where: str, *, more: str = "") -> Path:
    """The run's folder. The error names no path of the server."""
    if held.runs_root is None:
        raise UsageError("this server has no runs", where=where, next_step="Start it with --runs_root")
    try:
        return run_folder(held.runs_root, name)
    except UsageError as e:
        raise UsageError(e.what, where=where, next_step=f"GET /v1/runs lists them{more}") from e


def _of_run(held: Held, folder: Path, kind: Hashable, read: Callable[[Run], T], stop: Stop, where: str) -> T:
    """What `read` finds in the run, kept while the run's files are the same."""
    key = (kind, str(folder), _stamp(folder))
    if key in held.kept:
        held.kept[key] = held.kept.pop(key)
        found: T = held.kept[key]
        return found
    with Run.open(folder, check="sha256") as run:
        _refuse_another_model(held, run, where)
        check(stop)
        try:
            found = read(run)
        except UsageError as e:
            raise UsageError(f"run {folder.name}: {e.what}", where=where, next_step=_OTHER_RUN) from e
    while len(held.kept) >= _MOST_KEPT:
        held.kept.pop(next(iter(held.kept)))
    held.kept[key] = found
    return found


def _refuse_another_model(held: Held, run: Run, where: str) -> None:
    """Raise `UsageError` unless the run is of the loaded model, by its record or, without one, by its activations."""
    wrong = identity_differences(run.manifest, held.identity)
    here, there = held.shape, (run.manifest.n_layers, run.manifest.d_mlp)
    if tuple(here) != there:
        wrong.append(f"it has {here[0]} layers of {here[1]} neurons, the run {there[0]} of {there[1]}")
    name = f"run {run.path.name}"
    if wrong:
        raise UsageError(f"{name} is of another model: {join_some(wrong, 3)}", where=where, next_step=_OTHER)
    if unchecked(run.manifest, held.identity) and run.prompts:
        shortest = min(run.prompts, key=lambda p: p.seq_len)
        try:
            check_agreement(run, shortest, recompute(held.model, shortest.token_ids), held.model.spec.dtype)
        except BadRunError as e:
            raise UsageError(f"{name} is of another model: {e.what}", where=where, next_step=_OTHER) from e


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when the run or its records are made again."""
    files = (folder / MANIFEST, folder / RECORDS / "records_meta.json")
    stats = [f.stat() for f in files if f.is_file()]
    return tuple(x for s in stats for x in (s.st_mtime_ns, s.st_size, s.st_ino))
