"""Progress: lines in the log files of batch jobs, a bar in a terminal."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from neuron_signatures.cli import progress as module
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.cli.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def run(clock, *, quiet: bool) -> None:
    setup_logging(quiet=quiet)
    with Progress(1000, quiet=quiet, unit=" points") as bar:
        bar.skip(200)
        for _ in range(10):
            clock[0] += 10
            bar.advance(50)
        bar.extend(800)
        clock[0] += 5000
        bar.advance(100)


def test_without_a_terminal_there_is_a_plain_line_every_30_seconds(clock, capsys):
    run(clock, quiet=False)
    assert capsys.readouterr().err.splitlines() == [
        "points: 350 of 1000 (35%), 5 per second, 2 min left",
        "points: 500 of 1000 (50%), 5 per second, 2 min left",
        "points: 650 of 1000 (65%), 5 per second, 70 s left",
        "points: 800 of 1800 (44%), 0.118 per second, 2.4 h left",
    ]


def test_quiet_prints_nothing(clock, capsys):
    run(clock, quiet=True)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_and_no_lines(clock, monkeypatch):
    terminal = Terminal()
    with monkeypatch.context() as m:
        m.setattr(sys, "stderr", terminal)
        run(clock, quiet=False)
    assert "\r" in terminal.getvalue() and "per second" not in terminal.getvalue()
    assert "1.80k" in terminal.getvalue()  # the total after it was extended


def test_log_lines_are_above_the_bar_of_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    setup_logging(quiet=False)
    log = logging.getLogger("neuron_signatures.test")
    with Progress(1000, quiet=False, unit=" points") as bar:
        bar.advance(10)
        log.info("taking more steps")
        log.debug("a detail")
    log.info("done")
    lines = terminal.getvalue().replace("\r", "\n").splitlines()
    assert "taking more steps" in lines and "done" in lines[-1] and "a detail" not in terminal.getvalue()
