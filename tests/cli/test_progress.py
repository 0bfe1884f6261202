"""Progress: lines in the log files of batch jobs, a bar in a terminal."""

from __future__ import annotations

import io
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


def test_a_terminal_has_a_bar_and_no_lines(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(clock, quiet=False)
    assert "\r" in terminal.getvalue() and "per second" not in terminal.getvalue()
    assert "1.80k" in terminal.getvalue()  # the total after it was extended
