"""Runs `probe.py` as a child process, and reads what it says, whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from typing import Any, Final, NamedTuple

from neuron_signatures.cli.doctor.finding import shown

_SECONDS: Final = 120.0
_MOST: Final = 1 << 20


class Probed(NamedTuple):
    """By part: what it found. `failure` is why the first part that is missing failed, one line; else empty."""

    found: dict[str, dict[str, Any]]
    failure: str


class Probe:
    """A child process that tries some parts, one after the other."""

    def __init__(self, *parts: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "neuron_signatures.cli.doctor.probe", *parts],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def result(self, seconds: float = _SECONDS) -> Probed:
        """Wait for the end, at most `seconds`; then the child is killed."""
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            return Probed(_read(out), f"did not end within {seconds:.0f} s")
        code = self._process.returncode
        return Probed(_read(out), "" if code == 0 else _reason(code, err))


def _read(out: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in out[:_MOST].splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("part"), str):
                found[record["part"]] = record
    return found


def _reason(code: int, err: bytes) -> str:
    """The last line of the traceback, or the signal."""
    if code < 0:
        names = {s.value: s.name for s in signal.Signals}
        return f"killed by {names.get(-code, f'signal {-code}')}"
    lines = [line for line in err[-_MOST:].decode("utf-8", "replace").splitlines() if line.strip()]
    return shown(lines[-1]) if lines else f"exit code {code}"
