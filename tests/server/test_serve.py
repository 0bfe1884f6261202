"""The command: its flags and their mistakes, starting, stopping and starting again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import DEMO_RUN, ROOT
from processes import wait_until

from neuron_signatures import __main__ as console
from neuron_signatures import serve
from neuron_signatures.cli.serve_flags import serve_settings
from neuron_signatures.demo import model_dir

TOKEN = "a-token-of-enough-characters"
SECONDS = 60


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("NEURON_SIGNATURES_TOKEN", raising=False)
    monkeypatch.delenv("NEURON_SIGNATURES_RUNS", raising=False)


def _hear_signals() -> None:
    """A job in the background of a shell ignores SIGINT, one under nohup SIGHUP, and so would the server."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Started:
    """`python -m neuron_signatures.serve` in a process of its own."""

    def __init__(self, *flags: str, **environment: str) -> None:
        known = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neuron_signatures.serve", "--port", "0", *flags], env=known, cwd=ROOT / "tests",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=None if sys.platform == "win32" else _hear_signals,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def get(self, path: str, **headers: str) -> dict:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict = json.load(answer)
            return found

    def post(self, path: str, body: dict) -> bytes:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def is_ready(self) -> bool:
        return self.get("/v1/health")["model"]["state"] == "ready"

    def end(self, number: int) -> tuple[int, str]:
        """The exit code after a signal, and stderr."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, err


@contextlib.contextmanager
def started(*flags: str, **environment: str) -> Iterator[Started]:
    server = Started(*flags, **environment)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate(timeout=SECONDS)


def run_main(capsys, *flags: str) -> tuple[int, str]:
    code = serve.main(list(flags))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return code, err


def test_help_is_instant():
    code = "import sys; from neuron_signatures import serve; serve.make_parser(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"'torch'", "'fastapi'", "'uvicorn'", "'pydantic'", "'numpy'"} & set(
        done.stdout.strip("[]\n").split(", ")
    )


def test_the_console_program_has_the_command():
    assert console.COMMANDS["serve"].module == "serve"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))]
)
def test_it_says_where_it_is_and_ends_with_0_on_a_signal(number):
    with started("--model_name", "demo", "--runs_root", str(DEMO_RUN.parent)) as server:
        assert server.url.startswith("http://127.0.0.1:")
        wait_until(server.is_ready, SECONDS, "the model is loaded")
        assert server.get("/v1/health")["model"]["facts"]["d_mlp"] == 512
        code, err = server.end(number)
    assert code == 0
    assert "loaded demo" in err and "Traceback" not in err and err.count("\n") == 1


def test_without_a_model_it_starts_and_says_nothing():
    with started("--quiet") as server:
        assert server.get("/v1/health")["model"]["state"] == "none"
        assert server.end(signal.SIGTERM) == (0, "")


@pytest.fixture
def as_before():
    """What a server sets in its process."""
    loggers = [logging.getLogger(name) for name in ("uvicorn", "asyncio")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(("made", "code"), [("empty config", 2), ("nothing", 2), ("cut weights", 1)])
def test_a_model_that_cannot_be_loaded_ends_the_command(tmp_path, capsys, as_before, made, code):
    folder = tmp_path / "model"
    if made == "cut weights":
        shutil.copytree(model_dir(), folder)
        (folder / "model.safetensors").write_bytes(b"x" * 100)
    elif made == "empty config":
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    assert serve.main(["--model_name", str(folder), "--port", "0"]) == code
    out, err = capsys.readouterr()
    assert out.startswith("http://127.0.0.1:")
    assert err.startswith("error: ") and str(folder) in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL and ports")
def test_killed_and_started_again_it_gives_the_same_answers(tmp_path):
    body = {"text": "The capital of the state containing Dallas is", "top_k": 5}
    answers = []
    port = "0"
    for _ in range(2):
        with started("--model_name", "demo", "--port", port) as server:
            port = server.url.rpartition(":")[2]
            wait_until(server.is_ready, SECONDS, "the model is loaded")
            answers.append(server.post("/v1/next_token", body))
            assert server.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert answers[0] == answers[1] and b" Austin" in answers[0]


def test_a_port_in_use_is_one_line(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, err = run_main(capsys, "--port", str(port))
    assert code == 1
    assert err == (
        f"error: --host 127.0.0.1 --port {port}: the port is in use. Use another --port; 0 takes a free one\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpu1", "127.0.0.2"])
def test_an_address_that_others_reach_needs_a_token(capsys, host):
    code, err = run_main(capsys, "--host", host, "--port", "0")
    assert code == 2 and "a token is needed" in err and "--token_file" in err and "ssh -L" in err


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "-"])
def test_an_address_that_is_not_here(capsys, monkeypatch, host):
    monkeypatch.setenv("NEURON_SIGNATURES_TOKEN", TOKEN)
    code, err = run_main(capsys, f"--host={host}", "--port", "0")
    assert code == 2 and "Use --host 127.0.0.1" in err


@pytest.mark.parametrize(
    "text", ["", "short", "two words that are long enough", "\u00e9" * 20, "x" * 600, "a" * 20 + "\nb"]
)
def test_a_token_that_is_none(capsys, tmp_path, text):
    (tmp_path / "token").write_text(text)
    code, err = run_main(capsys, "--token_file", str(tmp_path / "token"), "--port", "0")
    assert code == 2 and "16 to 512 printable" in err and "secrets.token_urlsafe" in err
    assert not text.strip() or text.strip() not in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--runs_root", "none"], "there is no such folder"), (["--port", "70000"], "ports end at 65535"),
     (["--port", "-1"], "below 0"), (["--timeout", "0"], "between 0 and a day"), (["--max_queue", "0"], "below 1"),
     (["--max_body", "x"], "is not a size"), (["--allowed_host", "http://x"], "is not a host name"),
     (["--token", TOKEN], "unknown flag --token"), (["--token_file", "none"], "none"),
     (["--model_name", "demo", "--model_revision", "../x"], "not a branch, tag or commit")],
)  # fmt: skip
def test_mistakes_in_flags(capsys, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    code, err = run_main(capsys, *flags, *([] if "--port" in flags else ["--port", "0"]))
    assert code == 2 and said in err
    assert TOKEN not in err or "--token" in flags


def settings(*flags: str):
    return serve_settings(serve.make_parser().parse_args(flags))


def test_the_token_of_a_file_comes_before_that_of_the_environment(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("NEURON_SIGNATURES_TOKEN", TOKEN + "2 ")
    assert settings("--token_file", str(tmp_path / "token")).token == TOKEN
    assert settings("--host", "0.0.0.0").token == TOKEN + "2"
    monkeypatch.setenv("NEURON_SIGNATURES_TOKEN", "")
    assert settings().token is None


def test_a_run_is_not_a_folder_of_runs(capsys, tmp_path):
    (tmp_path / "manifest.json").touch()
    code, err = run_main(capsys, "--runs_root", str(tmp_path), "--port", "0")
    assert code == 2 and "this folder is a run. Give its parent folder" in err


def test_where_the_runs_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings().runs_root is None
    Path("runs").mkdir()
    assert settings().runs_root == Path("runs")
    Path("others").mkdir()
    monkeypatch.setenv("NEURON_SIGNATURES_RUNS", "others")
    assert settings().runs_root == Path("others")
    assert settings("--runs_root", "runs").runs_root == Path("runs")


def test_a_token_over_a_socket(tmp_path):
    with started("--quiet", NEURON_SIGNATURES_TOKEN=TOKEN) as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get("/v1/health")
        assert refused.value.code == 401
        assert server.get("/v1/health", Authorization=f"Bearer {TOKEN}")["status"] == "ok"
        code, err = server.end(signal.SIGTERM)
    assert code == 0 and TOKEN not in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_signal_ends_it_at_once():
    """While the first model is being loaded, which no signal interrupts."""
    with started("--quiet", "--model_name", "demo") as server:
        code = None
        while code is None:
            with contextlib.suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGTERM)
            code = server.process.poll()
            time.sleep(0.001)
    assert code in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
