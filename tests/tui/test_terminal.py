"""The browser as a process under a pseudo-terminal: its output, signals and exit codes."""

from __future__ import annotations

import base64
import fcntl
import importlib
import importlib.util
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import pytest
import torch
from explanation_runs import Log, write_log
from hostile import TOKENS
from record_runs import make_record_run
from tui_pilot import DEMO

from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.tokens import ascii_token
from neuron_signatures.tui.app import BrowseApp, browse
from neuron_signatures.tui.options import Options

# What Textual itself sends: modes, cursor, colours, queries, kitty's keyboard protocol, and the shape of the pointer.
OWN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[78=>]|\]22;[a-z]+\x07)")
EVIL = "\x1b]0;EVIL\x07\x1b[31mEVIL\x9b31m\x90EVIL\x9c\r\n\tEVIL\u202eEVIL\u200b"


STAGE = [sys.executable, "-m", "neuron_signatures.poc1_browse_activations"]
# A minimal shell with job control: the stage runs in its own process group with the terminal; when it stops, the shell
# takes the terminal until a line is typed.
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    print("the shell has it", flush=True)
    line = input()
    if line.startswith("kill "):
        os.kill(pid, int(line[5:]))
    else:
        os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


def talk(arguments: list[str], keys: list[bytes], *, columns: int = 120, rows: int = 40, cwd: Path | None = None,
         shell: tuple[str, ...] = (), end: int | None = None, **environment: str) -> tuple[bytes, int]:  # fmt: skip
    """Output of the stage while these keys were pressed, and its exit code. `q` or the signal `end` ends it."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm-256color", **environment})
        if cwd:
            os.chdir(cwd)
        os.execv(sys.executable, [*shell, *STAGE, *arguments])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    try:
        out = read_until_quiet(fd, 30, first=True)
        for key in keys:
            os.write(fd, key)
            out += read_until_quiet(fd, 0.4)
        if end is None:
            os.write(fd, b"q")
        else:
            os.kill(pid, end)
        out += read_until_quiet(fd, 3)
        signal.alarm(20)  # a process that does not exit fails the test
        return out, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        signal.alarm(0)
        os.close(fd)


def read_until_quiet(fd: int, seconds: float, *, first: bool = False) -> bytes:
    """Read until the output pauses, at most a few seconds. With `first`, also wait for a screen with its keys."""
    out, begin = b"", time.monotonic()
    end = begin + seconds
    while time.monotonic() < min(end, begin + max(seconds, 3)):
        if select.select([fd], [], [], 0.1)[0]:
            try:
                part = os.read(fd, 1 << 16)
            except OSError:  # Linux: the process has ended
                return out
            out += part
            end = time.monotonic() + (seconds if first and b" more" not in out and b"help" not in out else 0.3)
    return out


def foreign(out: bytes) -> list[bytes]:
    """Characters of the output that are neither text nor part of Textual's own sequences."""
    rest = OWN.sub(b"", out).decode("utf-8")
    return sorted({c.encode() for c in rest if not (c.isprintable() or c in "\r\n")})


def test_what_counts_as_foreign():
    assert foreign(b"\x1b[1m plain \xe2\x96\x88\r\n") == []
    for bad in ("\x1b]0;x\x07", "\x1b]52;c;x\x07", "\x1bPq", "\x9b31m", "\x07", "\u202e", "\u200b", "\t", "\x08"):
        assert foreign(bad.encode()), bad


def hostile_v1_run(run_dir: Path) -> Path:
    """Format 1 allows any id; every text of the manifest is hostile."""
    run_dir.mkdir(parents=True)
    tokens = [t for t in TOKENS if t != "\ud800"]
    n = len(tokens)
    acts = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0))
    torch.save({EVIL: acts, "second": acts}, run_dir / "activations.pt")
    prompts = [
        {
            "probe_id": key, "text": EVIL + "".join(tokens), "token_ids": list(range(n)),
            "tokens_ascii": tokens if key == EVIL else [ascii_token(t) for t in tokens], "seq_len": n,
            "activation_tensor_key": key, "activation_tensor_shape": [2, n, 3], "activation_tensor_dtype": "fp32",
        }
        for key in (EVIL, "second")
    ]  # fmt: skip
    record = {
        "format_version": 1, "created_at_utc": EVIL, "model_name": EVIL, "hook_name": EVIL, "n_layers": 2, "d_mlp": 3,
        "run_device": EVIL, "model_dtype": "fp32", "save_dtype": "fp32", "prepend_bos": True, "prompts": prompts,
        "activations_file": "activations.pt",
    }  # fmt: skip
    (run_dir / "manifest.json").write_text(json.dumps(record))
    return run_dir


TOUR = [b"a", b"d", b"\x1b", b"t", b"\x1b", b"o", b"\x1b", b"v", b"\x1b", b"p", b"\x1b", b"f", b"\x1b", b"w", b"\x1b",
        b"?", b"\x1b", b"s", b"EVIL\r", b"\x1b", b"g",
        b"\x1b[200~\x1b]0;pasted\x07\xc2\x9b31m\xe2\x80\xae\x1b[201~", b"\r", b"\x1b",
        b":", b"\x1b[200~\x1b]0;pasted\x07\xc2\x9b31m\x1b[201~", b"\x1b"]  # fmt: skip


def test_a_hostile_run_sends_no_control_sequences(tmp_path):
    run_dir = hostile_v1_run(tmp_path / "runs" / f"run{EVIL}".replace("/", "_"))
    out, code = talk(["--run_dir", str(run_dir)], TOUR)
    assert code == 0
    assert foreign(out) == []
    assert b"\\x1b]0;EVIL" in OWN.sub(b"", out) and b"pasted" in out


def test_a_folder_of_hostile_runs_sends_no_control_sequences(tmp_path):
    runs = tmp_path / f"runs{EVIL}"
    hostile_v1_run(runs / "whole")
    broken = runs / f"broken{EVIL}"
    broken.mkdir()
    (broken / "manifest.json").write_text(json.dumps({"format_version": EVIL, "model_name": EVIL, EVIL: EVIL}))
    out, code = talk(["--runs_root", str(runs)], [b"\r", b"r", b"?", b"\x1b", b"\x1b"])
    assert code == 0 and foreign(out) == []
    assert b"format_version" in out


def test_hostile_explanations_send_no_control_sequences(tmp_path):
    make_record_run(tmp_path / "run")
    log = Log("evil", explainer=EVIL, model=EVIL, answered_by=EVIL, system_fingerprint=EVIL, prompt_version=EVIL)
    rule = {"ngrams": [[EVIL]], "acts": [1.0], "threshold": 1.0, "precision": None, "recall": None, "n_active": 1,
            "n_named": 1}  # fmt: skip
    one = log.explain("L0N0+", EVIL * 100, rule=rule, created_at_utc=EVIL[:40])
    two = log.edit("L0N0+", EVIL, parent=one, by=EVIL)
    log.choose("L0N0+", one, {one: 0.5, two: None}, by=EVIL)
    log.note("L0N0+", two, EVIL, by=EVIL)
    log.lock("L0N0+", two, by=EVIL)
    log.explain("L0N0-", "", status="refused", reason=EVIL)
    write_log(tmp_path / "run", log)
    where = ["--run_dir", str(tmp_path / "run"), "--screen", "explanation", "--layer", "0", "--neuron", "0"]
    out, code = talk(where, [b"a", b"]", b"y", b"W", b"s", b"y", b"/", b"is:good\r", b"\x1b", b"\r"])
    copies = re.compile(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07")
    assert code == 0 and foreign(copies.sub(b"", out)) == []
    copied = [base64.b64decode(text).decode() for text in copies.findall(out)]
    assert len(copied) == 2 and all(text.isprintable() for text in copied)
    assert b"\\x1b]0;EVIL" in OWN.sub(b"", out) and b"is no state" in out


def test_an_error_that_names_a_hostile_path_is_escaped_too(tmp_path):
    out, code = talk(["--run_dir", f"nowhere{EVIL}"], [], cwd=tmp_path)
    assert code == 3 and foreign(out) == [] and b"no such run folder" in out


@pytest.mark.parametrize(("columns", "rows"), [(20, 5), (80, 24)])
def test_a_small_terminal_and_no_color(columns, rows):
    out, code = talk(
        ["--run_dir", str(DEMO), "--neuron", "0"], [b"n", b"\x1b[C"], columns=columns, rows=rows, NO_COLOR="1"
    )
    assert (code == 0 and b"L1N0" in out) or columns < 80
    colours = re.findall(rb"\x1b\[[\d;]*?38;2;(\d+);(\d+);(\d+)", out)
    assert all(r == g == b for r, g, b in colours)


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_is_refused(term):
    out, code = talk(["--run_dir", str(DEMO)], [], TERM=term)
    assert code == 1 and b"--print" in out and b"\x1b" not in out


def test_an_encoding_without_bars_is_refused():
    out, code = talk(["--run_dir", str(DEMO)], [], PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert code == 1 and b"cp1252" in out and b"PYTHONUTF8=1" in out


LEFT = (b"\x1b[?1049l", b"\x1b[?25h")  # leaves the alternate screen, shows the cursor


def test_invalid_utf_8_input_is_ignored():
    keys = [b"\xe9", b"n", b"g", b"\x1b[200~caf\xe9 9\x1b[201~", b"\r", b"\x1b", b"n"]
    out, code = talk(["--run_dir", str(DEMO), "--neuron", "0"], keys)
    assert code == 0 and b"Traceback" not in out and foreign(out) == []
    shown = OWN.sub(b"", out).decode()
    assert "L1N1" in shown and "L1N2" in shown and "'caf\ufffd 9' names no neuron" in shown


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_restores_the_terminal(end):
    out, code = talk(["--run_dir", str(DEMO)], [], end=end)
    assert code == 128 + end
    assert all(out.rfind(x) > out.rfind(b"\x1b[?1049h") for x in LEFT) and b"Traceback" not in out


def test_closing_the_terminal_ends_it():
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [*STAGE, "--run_dir", str(DEMO)])
    read_until_quiet(fd, 30, first=True)
    os.close(fd)
    signal.alarm(20)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    signal.alarm(0)


def test_ctrl_z_suspends_and_fg_resumes():
    shell = (sys.executable, "-c", SHELL)
    out, code = talk(["--run_dir", str(DEMO), "--neuron", "0"], [b"\x1a", b"fg\r", b"n"], shell=shell)
    assert code == 0
    before, after = out.split(b"the shell has it")
    assert all(before.rfind(x) > before.rfind(b"\x1b[?1049h") for x in LEFT)
    assert b"\x1b[?1049h" in after and b"prompt 0/7" in OWN.sub(b"", after) and b"L1N1" in OWN.sub(b"", after)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_browser_can_be_ended_by_a_signal(end):
    keys = [b"\x1a", f"kill {end:d}\r".encode()]
    out, code = talk(["--run_dir", str(DEMO)], keys, shell=(sys.executable, "-c", SHELL))
    assert code == -end % 256 and b"the shell has it" in out and b"Traceback" not in out


def test_ctrl_z_without_a_shell_says_so():
    out, code = talk(["--run_dir", str(DEMO)], [b"\x1a"])
    assert code == 0 and b"no shell to return to" in OWN.sub(b"", out)


def test_a_failed_browser_is_an_error(monkeypatch):
    monkeypatch.setattr(BrowseApp, "run", lambda self: self.panic("x"))
    with pytest.raises(EnvironmentProblem, match="ended with an error"):
        browse(Options(run_dir=DEMO))


def test_the_browser_hides_pandas_from_pyarrow_while_it_runs(monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    seen = []

    def run(self):
        seen.append(importlib.util.find_spec("json") is not None)
        with pytest.raises(ModuleNotFoundError, match="not used by the browser"):
            importlib.import_module("pandas")
        self._return_code = 0

    monkeypatch.setattr(BrowseApp, "run", run)
    assert browse(Options(run_dir=DEMO)) == 0 and seen == [True]
    assert not any(type(f).__name__ == "_NoPandas" for f in sys.meta_path)
