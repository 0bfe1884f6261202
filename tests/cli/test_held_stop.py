"""A stop signal waits for the end of a unit of work, but not for long."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time

import pytest
from forked import Child

from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import StoppedEarly
from neuron_signatures.runs.stopping import hold_stop


def hold(name: str, seconds: float, work: float, signals: int, *, saving: bool = False) -> int:
    """Send signals to itself while a unit of work goes on. 75: finished first; 76: dropped; 128 + n: ended by the
    handler."""
    finished = False
    try:
        with stop_on_signals(resume="again"), hold_stop(seconds) as stop:
            for _ in range(signals):
                os.kill(os.getpid(), getattr(signal, name))
            assert stop.wanted
            with stop.saving() if saving else contextlib.nullcontext():
                end = time.monotonic() + work
                while time.monotonic() < end:
                    time.sleep(0.01)
            finished = True
    except StoppedEarly as e:
        assert f"stopped by {name}" in e.what
        return 75 if finished else 76
    return 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_the_work_is_finished_first(name: str) -> None:
    assert Child(hold, name, 60.0, 0.05, 1).wait().returncode == 75


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_work_that_takes_too_long_is_dropped(name: str) -> None:
    assert Child(hold, name, 0.1, 60.0, 1).wait().returncode == 76


def test_what_is_being_stored_is_finished() -> None:
    assert Child(functools.partial(hold, saving=True), "SIGTERM", 0.05, 0.5, 1).wait().returncode == 75


@pytest.mark.parametrize(("name", "code"), [("SIGUSR1", 75), ("SIGHUP", 75), ("SIGTERM", 143), ("SIGINT", 130)])
def test_a_second_signal(name: str, code: int) -> None:
    assert Child(hold, name, 60.0, 0.05, 2).wait().returncode == code


def test_a_signal_after_the_work_stops_at_once() -> None:
    with pytest.raises(StoppedEarly, match="stopped by SIGUSR1"), stop_on_signals(resume="again"):
        with hold_stop(60.0) as stop:
            pass
        assert not stop.wanted
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)
