"""Running the shards of a stage as tasks of Ray, and joining them.

A task calls the stage's own `main` with `--shard I/N`. What a shard has done is in the run folder, so a task that is
started again goes on from the checkpoint of the one before, and Ray stores nothing. Written for Ray 2.60.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from neuron_signatures.cli.progress import Progress
from neuron_signatures.runs.errors import EnvironmentProblem, ExitCode, ProjectError, StoppedEarly, shorten
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.sharding.shard import Shard

log = logging.getLogger(__name__)

_RETRIES = 3
_LOCKED_SECONDS = 15.0  # between two tries of a shard that another process computes
_FOR_GOOD = (ExitCode.USAGE, ExitCode.BAD_RUN)
_CONNECT_SECONDS = 10.0
_STOP_SECONDS = 60.0  # a shard needs up to 20 for its checkpoint (records.pass1.run)
# Read when Ray is imported. Ray's own way to shorten its output hides lines of some shards.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
_TO_CONNECT = {"RAY_NUM_REDIS_GET_RETRIES": "2"}  # of 40 seconds each, where Ray has 20
_CODE = str(Path(__file__).parents[2])  # on every node, as the virtual environment
_TASK_LINE = "(shard "
_NEWS_OF_RAY = ("(raylet) A worker died", "(raylet) Task ", "(raylet) The node", "(autoscaler")
_REASON_CHARACTERS = 160


@dataclass(frozen=True)
class RayRequest:
    """A command of a stage in shards."""

    stage: str
    """The module with the stage's `main`."""
    flags: tuple[str, ...]
    """Of each shard, besides `--shard`."""
    prepare: tuple[str, ...] | None
    """The flags of a command that runs before the shards; None for no such command."""
    merge: tuple[str, ...]
    """The flags of the command that runs after them."""
    address: str | None
    """`auto`, a host and port, or None for a cluster on this machine, which is started if there is none."""
    n_shards: int | None
    """None for as many as run at the same time."""
    quiet: bool
    with_gpu: bool
    """Whether each shard gets a GPU, if the cluster has some."""
    again: str
    """How to go on after a stop or a failure."""


class ShardFailed(Exception):
    """A shard ended with an exit code after which another try can help."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(code)

    def __str__(self) -> str:
        return f"exit code {self.code}"


def run_on_ray(request: RayRequest) -> int:
    """Prepare, run all shards, join them, and return the exit code of the first command that fails, or 0.

    Raises `EnvironmentProblem` if Ray is not installed or there is no cluster, `ProjectError` if shards failed, and
    `StoppedEarly` after a signal.
    """
    with _cluster(request.address) as ray:
        gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        if not cpus:
            raise EnvironmentProblem("the Ray cluster has no CPU", next_step="Start its nodes without --num-cpus=0")
        at_once = gpus if request.with_gpu and gpus else cpus
        n_shards = request.n_shards or at_once
        if request.prepare is not None and (code := _prepare(request)):
            return code
        failed = _run_shards(ray, request, n_shards, min(at_once, n_shards), n_gpus=int(request.with_gpu and gpus > 0))
    if failed:
        raise _failure(failed, n_shards, request)
    return int(import_module(request.stage).main(request.merge))


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected; the processes of a cluster that was started for it end with the block."""
    for name, value in {**_ENVIRONMENT, **(_TO_CONNECT if address is not None else {})}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as e:
        next_step = "Install it with `pip install -r requirements-ray.txt`"
        raise EnvironmentProblem(f"Ray is not installed ({e})", next_step=next_step) from e
    _refuse_silent_address(os.environ.get("RAY_ADDRESS") if address in (None, "auto") else address)
    sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, include_dashboard=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as e:
        raise _no_cluster(str(e).strip().partition(". ")[0].partition("\n")[0], address) from e
    finally:
        signal.signal(signal.SIGTERM, sigterm)  # which `ray.init` replaces
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse_silent_address(address: str | None) -> None:
    """Raise `EnvironmentProblem` if nothing listens at `host:port`: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as e:
        raise _no_cluster(str(e), address) from e


def _no_cluster(why: str, address: str | None) -> EnvironmentProblem:
    where = f"--ray_address {address}" if address else "--engine ray"
    next_step = "Run `ray start --head` here, or `ray start --address` with the cluster's RAY_AUTH_MODE and token"
    return EnvironmentProblem(f"no Ray cluster answers ({why})", where=where, next_step=next_step)


def _prepare(request: RayRequest) -> int:
    with _without_stdout():
        return int(import_module(request.stage).main(request.prepare))


def _run_shards(ray: Any, request: RayRequest, n_shards: int, at_once: int, *, n_gpus: int) -> dict[Shard, str]:
    """Run the shards and return those that failed, with the reason. Raises `StoppedEarly` after a signal."""
    run = ray.remote(num_cpus=1, num_gpus=n_gpus, max_calls=1, max_retries=_RETRIES, retry_exceptions=True)(_task())
    log.info("%d shards on Ray, %d at a time, each on %s", n_shards, at_once, "one GPU" if n_gpus else "one CPU")
    failed: dict[Shard, str] = {}
    with Progress(n_shards, unit="shards", quiet=request.quiet) as bar, _relayed_lines(), _noted_signals() as signals:
        shards = [Shard(i, n_shards) for i in range(1, n_shards + 1)]
        tasks = {
            run.options(name=f"shard {s}").remote(
                request.stage,
                request.flags,
                str(s),
                str(Path.cwd()),
                None if request.quiet else Progress.line_seconds * at_once,
            ): s
            for s in shards
        }
        while tasks:
            # Short waits: an exception of a signal handler would be lost inside of Ray.
            for task in ray.wait(list(tasks), timeout=0.5)[0]:
                shard = tasks.pop(task)
                if reason := _reason(ray, task):
                    failed[shard] = reason
                    log.warning("shard %s failed: %s", shard, reason)
                bar.advance(1)
            if signals:
                _cancel(ray, list(tasks))
                what = f"stopped by {signal.Signals(signals[0]).name}; finished work is kept"
                raise StoppedEarly(what, next_step=f"To continue, {request.again}")
    return failed


def _task() -> Callable[..., int]:
    """`_run_shard` as Ray sends it: by value, since a process of Ray may not know where the code is.

    Ray has an option for that, `code_search_path`, with which it ignores `max_calls`.
    """
    code = _CODE

    def run_shard(*args: Any) -> int:
        if code not in sys.path:
            sys.path.insert(0, code)
        from neuron_signatures.cli import ray_engine

        return ray_engine._run_shard(*args)

    return run_shard


def _run_shard(stage: str, flags: Sequence[str], shard: str, folder: str, line_seconds: float | None) -> int:
    """One shard, in a process of Ray: 0, or an exit code that another try would not change.

    A line about its progress comes every `line_seconds`; None for no lines but warnings.
    """
    os.chdir(folder)
    if line_seconds is not None:
        Progress.line_seconds = line_seconds
        sys.stderr.write(f"starts on {socket.gethostname()}, process {os.getpid()}\n")
    with _without_stdout():
        code = int(import_module(stage).main([*flags, "--shard", shard]))
    if code == ExitCode.LOCKED:
        time.sleep(_LOCKED_SECONDS)
    if code and code not in _FOR_GOOD:
        raise ShardFailed(code)
    return code


def _reason(ray: Any, task: Any) -> str:
    """Why a finished task failed; empty if it did not."""
    try:
        code = ray.get(task)
    except ray.exceptions.RayError as e:
        cause = getattr(e, "cause", None)
        if isinstance(cause, ShardFailed):
            return str(cause)
        if isinstance(e, ray.exceptions.WorkerCrashedError):
            return "its process was killed or crashed"
        return shorten(
            f"{type(cause or e).__name__}: {str(cause or e).strip().partition(chr(10))[0]}", _REASON_CHARACTERS
        )
    return str(ShardFailed(code)) if code else ""


def _cancel(ray: Any, tasks: Sequence[Any]) -> None:
    """Interrupt the tasks, and wait until their shards are saved."""
    for task in tasks:
        ray.cancel(task)
    if tasks:
        log.info("waiting until %d shards are saved", len(tasks))
        ray.wait(list(tasks), num_returns=len(tasks), timeout=_STOP_SECONDS)


def _failure(failed: dict[Shard, str], n_shards: int, request: RayRequest) -> ProjectError:
    by_reason: dict[str, list[int]] = {}
    for shard, reason in sorted(failed.items()):
        by_reason.setdefault(reason, []).append(shard.number)
    reasons = "; ".join(f"{spans(numbers)} ({reason})" for reason, numbers in by_reason.items())
    next_step = f"The other shards are kept. Remove the cause, then {request.again}"
    return ProjectError(f"{len(failed)} of {n_shards} shards failed: {reasons}", next_step=next_step)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """The stop signals that came in the block. A second one ends the process, and with it the job of Ray."""
    seen: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if seen and signal.Signals(signum).name not in ("SIGHUP", "SIGUSR1"):  # which may come twice
            os._exit(128 + signum)
        seen.append(signum)

    names = [n for n in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, n)]
    before = {n: signal.getsignal(getattr(signal, n)) for n in names}
    for n in (n for n in names if before[n] is not signal.SIG_IGN):
        signal.signal(getattr(signal, n), note)
    try:
        yield seen
    finally:
        for n, handler in before.items():
            signal.signal(getattr(signal, n), handler)


@contextlib.contextmanager
def _without_stdout() -> Iterator[None]:
    """Discard results that are printed in the block: those of the whole command are the merge's."""
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null):
        yield


@contextlib.contextmanager
def _relayed_lines() -> Iterator[None]:
    """In the block, log what a thread of Ray prints on both standard streams: lines of the tasks, and its own news."""
    relay = _Relay()
    with contextlib.redirect_stdout(relay), contextlib.redirect_stderr(relay):
        yield


class _Relay(io.TextIOBase):
    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.startswith(_TASK_LINE):
                log.warning("%s", line)
            elif line.startswith(_NEWS_OF_RAY):
                log.warning(
                    "%s", shorten(line.partition(" To troubleshoot")[0].partition(" Error:")[0], _REASON_CHARACTERS)
                )
        return len(text)
