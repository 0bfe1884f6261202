"""One case of the attack: its seed, the commands that run on it, and the defects that are found.

A defect is a traceback, an exit code that is not documented, a line of more than 400 characters, more than 10 seconds
of processor time or 30 on the clock, more than 1 GB beyond the memory before, or a change outside the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import random
import stat
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import ProjectError

MAX_LINE = 400
MAX_SECONDS = 10.0
"""Processor time of one step, so that other programs on the machine cause no defects."""
MAX_WAIT = 30.0
"""Seconds on the clock, after which a step counts as hanging."""
MAX_BYTES = 1_000_000_000
EXIT_CODES = {0, 1, 2, 3, 4, 75, *range(129, 129 + 64)}

Snapshot = dict[str, tuple[object, ...]]


class Case(NamedTuple):
    """One case. All random choices of it follow from the seed."""

    kind: str
    number: int
    master: int

    @property
    def seed(self) -> str:
        return f"{self.master}:{self.kind}:{self.number}"


@dataclass
class Result:
    """The outcome of one case: what was done, how often each outcome occurred, and the defects."""

    case: Case
    done: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


class Clock:
    """The step that a worker process is at, readable from the process that watches it."""

    def __init__(self) -> None:
        self._began = RawValue(ctypes.c_double, 0.0)
        self._label = RawArray(ctypes.c_char, 512)
        self._done = RawArray(ctypes.c_char, 1024)

    def begin(self, label: str) -> None:
        self._label.value = label.encode("utf-8", "backslashreplace")[:500]
        self._began.value = time.monotonic()

    def end(self) -> None:
        self._began.value = 0.0

    def record(self, done: list[str]) -> None:
        """Keep what was done, for the case that this process does not survive."""
        self._done.value = "; ".join(done).encode("utf-8", "backslashreplace")[:1000]

    def done(self) -> list[str]:
        return [self._done.value.decode("utf-8", "replace")]

    def seconds(self) -> float:
        """Seconds since the current step began; 0 between steps."""
        began = self._began.value
        return time.monotonic() - began if began else 0.0

    def label(self) -> str:
        return self._label.value.decode("utf-8", "replace")


class Trial:
    """Runs the steps of one case in this process and records what they do.

    `folder` is the scratch folder of this worker; `shared` holds what `prepare` made for the kind.
    """

    def __init__(self, case: Case, folder: Path, shared: Path, clock: Clock) -> None:
        self.case = case
        self.folder = folder
        self.shared = shared
        self.rng = random.Random(case.seed)
        self.result = Result(case)
        self._clock = clock

    def did(self, what: str) -> None:
        """Record how the input was made hostile."""
        self.result.done.append(what)
        self._clock.record(self.result.done)

    def defect(self, what: str) -> None:
        self.result.defects.append(what)

    def count(self, outcome: str) -> None:
        self.result.outcomes[outcome] += 1

    def command(self, main: Callable[[Sequence[str]], int], argv: Sequence[str], *, lines: bool = False) -> str:
        """Run a command and return its stdout. `lines` also limits the length of lines on stdout."""
        label = f"{_name_of(main)} {' '.join(map(ascii, argv))}"
        with self._observed(label) as streams:
            code: object = None
            try:
                code = main([*argv])
            except SystemExit as e:  # --help
                code = e.code or 0
            except BaseException as e:  # noqa: BLE001  each is a defect
                self.defect(f"{label}: {_raised(e)}")
        if code is not None:
            self.count(f"exit {code}")
            if code not in EXIT_CODES:
                self.defect(f"{label}: exit code {code!r}")
        self._check_text(label, streams, lines=lines)
        return streams.out.getvalue()

    def call(self, label: str, action: Callable[[], Any]) -> Any:
        """The value of a library function, or None if it refuses with an error of the project."""
        value = None
        with self._observed(label) as streams:
            try:
                value = action()
                self.count("accepted")
            except ProjectError as e:
                self.count("refused")
                streams.err.write(e.line())
            except BaseException as e:  # noqa: BLE001  each is a defect
                self.defect(f"{label}: {_raised(e)}")
        self._check_text(label, streams, lines=False)
        return value

    @contextlib.contextmanager
    def unchanged(self, *folders: Path, but: Sequence[Path] = ()) -> Iterator[None]:
        """Within the block, nothing in the folders may change, except in the folders `but`."""
        before = [snapshot(f, but) for f in folders]
        yield
        for f, old in zip(folders, before, strict=True):
            new = snapshot(f, but)
            for name in sorted(old.keys() | new.keys()):
                if old.get(name) != new.get(name):
                    what = "created" if name not in old else "removed" if name not in new else "changed"
                    self.defect(f"write outside the run: {what} {name!a}")

    @contextlib.contextmanager
    def _observed(self, label: str) -> Iterator[_Streams]:
        streams = _Streams(io.StringIO(), io.StringIO())
        memory = _Memory()
        self._clock.begin(label)
        began = time.process_time()
        with (
            contextlib.redirect_stdout(streams.out),
            contextlib.redirect_stderr(streams.err),
            warnings.catch_warnings(),
        ):
            yield streams
        seconds = time.process_time() - began
        self._clock.end()
        if seconds > MAX_SECONDS:
            self.defect(f"{label}: {seconds:.1f} s")
        if memory.growth() > MAX_BYTES:
            self.defect(f"{label}: {memory.growth() / 1e9:.1f} GB")

    def _check_text(self, label: str, streams: _Streams, *, lines: bool) -> None:
        err, out = streams.err.getvalue(), streams.out.getvalue()
        if "Traceback (most recent call last)" in err:
            self.defect(f"{label}: traceback: {err.strip().splitlines()[-1][:200]!a}")
        if "out of memory" in err:
            self.defect(f"{label}: {err.strip()[-200:]!a}")
        for name, text in (("stderr", err), ("stdout", out if lines else "")):
            longest = max(map(len, text.split("\n")))
            if longest > MAX_LINE:
                self.defect(f"{label}: a line of {longest} characters on {name}")


class _Streams(NamedTuple):
    out: io.StringIO
    err: io.StringIO


class _Memory:
    """Growth of the resident memory since this object was made, at its peak; Linux only, elsewhere 0."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")

    def growth(self) -> int:
        return _status("VmHWM") - self._before


def snapshot(folder: Path, but: Sequence[Path] = ()) -> Snapshot:
    """Kind, permissions, size, time of change and content of everything in a folder; links are not followed."""
    found: Snapshot = {}
    for at, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if Path(at, f) not in but]
        for path in [Path(at), *(Path(at, f) for f in files), *(Path(at, f) for f in folders)]:
            if path in but:
                continue
            facts = path.lstat()
            content = ""
            if stat.S_ISREG(facts.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            elif stat.S_ISLNK(facts.st_mode):
                content = str(path.readlink())
            size = facts.st_size if not path.is_dir() else 0
            # The scratch folder itself gets a new time whenever a run beside it is made.
            when = facts.st_mtime_ns if stat.S_ISREG(facts.st_mode) else 0
            found[str(path)] = (facts.st_mode, size, when, content)
    return found


def _raised(e: BaseException) -> str:
    frames = traceback.extract_tb(e.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"traceback: {type(e).__name__}: {ascii(str(e))[:160]}{where}"


def _name_of(main: Callable[..., object]) -> str:
    return getattr(main, "__module__", "").removeprefix("neuron_signatures.").removesuffix(".__main__")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)
