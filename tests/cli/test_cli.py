"""Flags, one-line errors and exit codes that all commands share."""

from __future__ import annotations

import argparse
import logging
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.cli.arguments import at_least, folder, parse_bytes
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.runs.errors import BadRunError, ProjectError, StoppedEarly, UsageError


def parser() -> Parser:
    p = Parser(prog="stage")
    p.add_argument("--out_dir")
    p.add_argument("--single_prompt")
    p.add_argument("--overwrite", action="store_true")
    return p


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        (["--out_dir", "a"], ("a", None, False)),
        (["--out-dir", "a", "--overwrite"], ("a", None, True)),
        (["--out-dir=a-b"], ("a-b", None, False)),
        (["--single_prompt", "@you", "--out_dir", "@home"], ("@home", "@you", False)),
        (["--single_prompt=--x-y"], (None, "--x-y", False)),
    ],
)
def test_flags_accept_hyphens_and_values_are_unchanged(argv, want):
    args = parser().parse_args(argv)
    assert (args.out_dir, args.single_prompt, args.overwrite) == want


def test_a_flag_after_one_with_an_optional_value():
    p = parser()
    p.add_argument("--print", nargs="?", const="text", choices=("text", "json"))
    assert p.parse_args(["--print", "--out-dir", "a"]).out_dir == "a"
    assert p.parse_args(["--print", "json", "--out-dir", "a"]).print == "json"


def test_a_flags_file_may_include_another(tmp_path):
    (tmp_path / "inner").write_text("--single-prompt 'two words' # a comment\n")
    (tmp_path / "outer").write_text(f"--overwrite @{tmp_path}/inner\n--out_dir x\n")
    args = parser().parse_args([f"@{tmp_path}/outer"])
    assert (args.out_dir, args.single_prompt, args.overwrite) == ("x", "two words", True)
    (tmp_path / "loop").write_text(f"@{tmp_path}/loop")
    with pytest.raises(UsageError, match="nests"):
        parser().parse_args([f"@{tmp_path}/loop"])
    (tmp_path / "open").write_text("--out_dir 'x")
    with pytest.raises(UsageError, match="No closing quotation"):
        parser().parse_args([f"@{tmp_path}/open"])


def test_an_empty_path_is_refused_in_one_line():
    p = Parser(prog="stage")
    p.add_argument("--out_dir", type=folder)
    with pytest.raises(UsageError, match=r"--out_dir: a path cannot be empty") as e:
        p.parse_args(["--out_dir", ""])
    assert "\n" not in e.value.line()


def test_abbreviations_and_unknown_flags_are_refused():
    for argv in (["--out", "x"], ["--nope"], ["stray"]):
        with pytest.raises(UsageError, match="See --help"):
            parser().parse_args(argv)


@pytest.mark.parametrize(
    ("text", "n"),
    [("1", 1), ("512MB", 512_000_000), ("1.5 GiB", 1_610_612_736), ("2k", 2000), ("3 TB", 3 * 10**12), ("4KiB", 4096)],
)
def test_sizes(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "x", "-1MB", "1XB", "0", "0.1"])
def test_invalid_sizes(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_bytes(text)
    with pytest.raises(argparse.ArgumentTypeError):
        at_least(1)(text)


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UsageError("wrong", where="a.json", next_step="Mend it"), 2, "error: a.json: wrong. Mend it\n"),
        (BadRunError("broken"), 3, "error: broken\n"),
        (StoppedEarly("stopped"), 75, "stopped\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (ProjectError("a\nb\x1b[31m\u202e"), 1, "error: a\\nb\\x1b[31m\\u202e\n"),
    ],
)
def test_a_failure_gives_one_line_and_an_exit_code(capsys, raised, code, line):
    @command
    def main(argv=None):
        raise raised

    assert main([]) == code
    assert capsys.readouterr().err == line


def test_an_assertion_error_is_not_caught():
    @command
    def main(argv=None):
        raise AssertionError("bug")

    with pytest.raises(AssertionError):
        main([])


@given(st.text())
def test_an_error_is_always_one_printable_line(text):
    line = UsageError(text, where=text, next_step=text).line()
    assert line.isprintable()


def test_quiet_keeps_warnings_only_and_escapes_them(capsys):
    log = logging.getLogger("neuron_signatures.test")
    setup_logging(quiet=True)
    log.info("hidden")
    log.warning("bad \x1b[2J id\nsecond")
    setup_logging(quiet=False)
    log.info("shown")
    assert capsys.readouterr().err == "bad \\x1b[2J id\\nsecond\nshown\n"


def test_a_signal_raises_once_and_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedEarly, match="SIGTERM"), stop_on_signals(resume="again"):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    with stop_on_signals(resume="again"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_dashes_are_not_the_value_of_a_flag():
    parser = Parser(prog="x")
    parser.add_argument("--device")
    with pytest.raises(UsageError, match="argument --device: '--' is not a value"):
        parser.parse_args(["--device=--"])
