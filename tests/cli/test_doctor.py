"""`neuron-signatures doctor`: what it finds, what it never shows, and that nothing broken stops it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import DEMO_RUN, ROOT

from neuron_signatures.cli.doctor import checkup, libraries, places
from neuron_signatures.cli.doctor.child import Probe, Probed
from neuron_signatures.cli.doctor.finding import KEYS, Finding, host_of, shown
from neuron_signatures.cli.doctor.machine import (
    disk_findings,
    forward_findings,
    memory_findings,
    terminal_findings,
    torch_findings,
)
from neuron_signatures.cli.doctor.places import (
    address_findings,
    hub_findings,
    key_findings,
    port_finding,
    runs_findings,
)
from neuron_signatures.doctor import main


def levels(found: list[Finding]) -> list[str]:
    return [f.level for f in found]


def texts(found: list[Finding]) -> str:
    return "\n".join(f"{f.text} -> {f.next_step}" for f in found)


def run_doctor(*flags: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    code = f"{before}\nimport sys\nfrom neuron_signatures.__main__ import main\nsys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *flags], capture_output=True, text=True, check=False, timeout=200,
        cwd=ROOT, env={**os.environ, **environ},
    )  # fmt: skip


# Keys


SECRETS = st.text(string.ascii_letters + string.digits + "-_.+/=:@", min_size=12, max_size=60)


@given(value=SECRETS, name=st.sampled_from(sorted(KEYS)))
def test_a_key_is_present_or_absent_and_nothing_else(value: str, name: str) -> None:
    """The finding is the same for every value."""
    found = key_findings({name: value})
    assert found == key_findings({name: "another"})
    assert value not in texts(found) and f"{name}: set" in texts(found)


@given(value=SECRETS, host=st.from_regex(r"[a-z]{3,10}\.[a-z]{2,3}", fullmatch=True))
def test_what_an_address_may_hide_is_not_shown(value: str, host: str) -> None:
    for url in (f"https://user:{value}@{host}:8443/v1", f"https://{host}/v1/{value}", f"https://{host}/?key={value}"):
        found = texts(address_findings({"OPENAI_BASE_URL": url, "HF_TOKEN": value}))
        assert value not in found


@given(value=SECRETS)
def test_a_key_in_the_text_of_a_library_is_not_shown(value: str) -> None:
    line = shown(f"OSError: cannot read {value} at {value}", {"HF_TOKEN": f" {value}\n"})
    assert value not in line and "OSError: cannot read ***" in line


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434"), ("proxy:3128", "proxy:3128"),
        ("https://[::1]:80/", "https://[::1]:80"), ("", "not an address"), ("http://[", "not an address"),
        ("http://a:99999", "not an address"), ("//", "not an address"),
        ("http://me:pw@proxy:1", "http://proxy:1 (with a user name or password)"),
    ],
)  # fmt: skip
def test_addresses_are_shown_as_hosts(url: str, host: str) -> None:
    assert host_of(url) == host


def test_an_empty_key_is_a_note() -> None:
    found = key_findings({"OPENAI_API_KEY": "  "})
    assert "OPENAI_API_KEY is set, but empty" in texts(found) and levels(found).count("note") == 1


# Libraries


def test_the_libraries_are_those_of_the_package() -> None:
    found = texts(libraries.library_findings())
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in found
    assert "the viewers: " in found and "as asked for" in found


def test_other_versions_and_missing_libraries_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy~=2.4", "rich>=1", "gone~=1.0", 'torch==1.2; extra == "models"', 'nothing; extra == "sae"',
             'old; python_version < "3"', 'other; extra == "later"']  # fmt: skip
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: asked)
    found = libraries.library_findings()
    text = texts(found)
    assert "gone is missing, which the viewers need -> pip install -r requirements-viewers.txt" in text
    assert "torch 2." in text and "==1.2 is supported -> pip install -r requirements.txt" in text
    assert "releases of sparse autoencoders: not installed (nothing is missing)" in text
    assert "old" not in text and "other" not in text
    assert levels(found).count("problem") == 2


def test_damaged_descriptions_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: ["numpy~=2.4"])
    monkeypatch.setattr(libraries, "_version", lambda name: "\x1b[31mnot a version")
    found = libraries.library_findings()
    assert "numpy" in texts(found) and "problem" in levels(found)
    assert "\x1b" not in "".join(shown(f.text) for f in found)


def test_without_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_PACKAGE", "no-such-package-here")
    found = libraries.library_findings()
    assert levels(found) == ["note"] and "pip install --no-deps -e ." in texts(found)


# torch and its devices


def torch_part(**changes: Any) -> Probed:
    found = {"version": "2.13.0", "cuda": None, "devices": [], "mps": False, "threads": 2, "warnings": [], **changes}
    return Probed({"torch": found}, "")


def gpu(major: int, minor: int) -> dict[str, Any]:
    return {"name": "A \x1b[31m GPU", "free": 10**9, "total": 8 * 10**9, "capability": [major, minor]}


def test_gpus_with_and_without_bf16() -> None:
    found = torch_findings(torch_part(cuda="13.0", devices=[gpu(9, 0), gpu(7, 5)]))
    assert levels(found) == ["ok", "ok", "note"]
    text = texts(found)
    assert "8.0 GB, 1.0 GB free, compute capability 9.0" in text and "\x1b" not in text
    assert "no bf16 in hardware" in text and "--model_dtype fp16" in text


@pytest.mark.parametrize(
    ("cuda", "hidden", "level", "what"),
    [(None, None, "problem", "built for the CPU"), ("13.0", "", "note", "CUDA_VISIBLE_DEVICES hides"),
     ("13.0", None, "problem", "torch cannot use it")],
)  # fmt: skip
def test_a_gpu_that_torch_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, hidden: str | None, level: str, what: str
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr("neuron_signatures.cli.doctor.machine._NVIDIA", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = torch_findings(torch_part(cuda=cuda, warnings=["CUDA initialization: the driver is too old"]))
    assert found[-1].level == level and what in found[-1].text
    assert "driver is too old" in texts(found)


def test_a_demo_model_that_answers_otherwise_is_a_problem() -> None:
    answer = {"token": " Austin", "probability": 0.99, "device": "cpu", "seconds": 0.5}
    assert levels(forward_findings(Probed({"torch": {}, "forward": answer}, ""))) == ["ok"]
    assert levels(forward_findings(Probed({"torch": {}, "forward": {**answer, "token": " x"}}, ""))) == ["problem"]
    failed = forward_findings(Probed({"torch": {}}, "RuntimeError: no kernel image is available"))
    assert levels(failed) == ["problem"] and "no kernel image" in texts(failed)


def test_the_child_survives_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that kills its process, raises, prints rubbish, or hangs."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    for body, failure in (
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("raise OSError('libcudart.so.13: \\x1b[31m cannot open')", "OSError: libcudart.so.13: \\x1b[31m cannot open"),
        ("print('{}\\n[1]\\n{\"part\": 3}'); raise SystemExit(4)", "exit code 4"),
    ):
        (tmp_path / "torch.py").write_text(body)
        assert Probe("torch").result() == Probed({}, failure)
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    assert Probe("torch").result(seconds=1.0).failure == "did not end within 1 s"


# Hub, runs, disks, terminal, port


def test_the_hub_s_cache_and_its_models(tmp_path: Path) -> None:
    model = tmp_path / "models--openai-community--gpt2"
    model.mkdir()
    (model / "blob").write_bytes(bytes(2000))
    part = {"cache": str(tmp_path), "token_file": str(tmp_path / "token"), "has_token": False, "offline": True}
    found = hub_findings(Probed({"hub": part}, ""), Probed({"converted": {"folder": str(tmp_path / "no")}}, ""))
    text = texts(found)
    assert "2.0 kB" in text and "in it: openai-community/gpt2" in text and "(not there yet)" in text
    assert "HF_HUB_OFFLINE is set" in text and "gated models cannot be loaded" in text
    broken = hub_findings(Probed({}, "ImportError: x"), Probed({}, ""))
    assert levels(broken) == ["note"] and "ImportError: x" in texts(broken)


def test_runs_and_what_to_run_next(tmp_path: Path) -> None:
    found, runs = runs_findings(tmp_path / "runs")
    assert levels(found) == ["ok"] and "0 complete runs" in texts(found) and runs.names == ()
    shutil.copytree(DEMO_RUN, tmp_path / "runs" / "tiny")
    (tmp_path / "runs" / "half").mkdir()
    (tmp_path / "runs" / "half" / "manifest.json").write_text("{")
    found, runs = runs_findings(tmp_path / "runs")
    assert runs.names == ("tiny",) and runs.others == 1
    assert "1 complete run in" in texts(found) and "and 1 stopped, broken" in texts(found)
    (tmp_path / "file").write_text("")
    assert levels(runs_findings(tmp_path / "file")[0])[0] == "problem"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "problem" in levels(runs_findings(tmp_path)[0])


def test_disks_memory_and_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("runs (" in f.text for f in disk_findings({"runs": tmp_path / "not" / "there"}))
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert levels(disk_findings({"runs": tmp_path})) == ["problem"] * len(disk_findings({"runs": tmp_path}))
    assert len(memory_findings()) == 1
    monkeypatch.setattr("neuron_signatures.cli.doctor.machine.available_bytes", lambda: None)
    assert "does not say" in texts(memory_findings())
    assert "colours" in texts(terminal_findings({"TERM": "xterm", "NO_COLOR": "1"}))


class _Health(BaseHTTPRequestHandler):
    body = b"{}"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    made = HTTPServer(("127.0.0.1", 0), _Health)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_the_port(server: HTTPServer) -> None:
    port = server.server_address[1]
    for body in (b"{}", b"not json", b"[" * 5000, b'{"status": "ok"}', b"\xff"):
        _Health.body = body
        assert "another program" in port_finding(port).text
    _Health.body = b'{"status": "ok", "version": "0.1.0", "model": {"model_name": "de\\u001bmo"}}'
    assert port_finding(port).text.endswith("our server, model de\\x1bmo")
    _Health.body = b'{"type": "unauthorized", "status": 401}'
    assert port_finding(port).text.endswith("our server, which asks for its token")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert "is free" in port_finding(free.getsockname()[1]).text


# The whole command


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without children."""
    part = {"cache": "/none", "token_file": "/none", "has_token": False, "offline": False}
    found = {**torch_part().found, "hub": part, "converted": {"folder": "/none"}}

    class Known:
        def __init__(self, *parts: str) -> None:
            pass

        def result(self) -> Probed:
            return Probed(found, "")

    monkeypatch.setattr(checkup, "Probe", Known)
    monkeypatch.setattr(checkup, "port_finding", lambda port: Finding("server", "ok", "free"))


@pytest.mark.usefixtures("quick")
def test_lines_json_and_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    code = main(["--quick", "--runs_root", str(tmp_path)])
    out = capsys.readouterr().out
    assert "next\n" in out and "make demo" in out and "versions\n" in out
    assert main(["--quick", "--json", "--runs_root", str(DEMO_RUN.parent)]) == code
    fields = json.loads(capsys.readouterr().out)
    assert set(fields) == {"ok", "findings", "next"} and fields["ok"] is (code == 0)
    assert {f["level"] for f in fields["findings"]} <= {"ok", "note", "problem"}
    assert any("browse --run_dir" in step for step in fields["next"])

    problem = Finding("memory", "problem", "x \x1b[31m", "Do \x07 this")
    monkeypatch.setattr(checkup, "memory_findings", lambda: [problem])
    assert main(["--quick", "--runs_root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "problem  x \\x1b[31m\n" in out and "Do \\x07 this   (the first problem above)" in out


@pytest.mark.usefixtures("quick")
def test_no_key_in_any_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    value = "hf_0123456789abcdefXYZ"
    for name in KEYS:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{value}:{value}@{value}:3128/{value}")
    monkeypatch.setenv("TERM", value)
    for flags in ([], ["--json"]):
        main(["--quick", "--runs_root", str(tmp_path / value), *flags])
        out = capsys.readouterr().out.lower()
        assert value.lower() not in out and value[3:].lower() not in out


def test_it_runs_without_torch_and_with_a_broken_one(tmp_path: Path) -> None:
    """Not installed, and installed but broken: one line each."""
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: undefined symbol')")
    broken = run_doctor("--json", "--runs_root", str(tmp_path), PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    fields = json.loads(broken.stdout)
    found = [f for f in fields["findings"] if f["section"] == "torch"]
    assert broken.returncode == 1 and broken.stderr == ""
    assert [f["level"] for f in found] == ["problem"] and "undefined symbol" in found[0]["text"]

    hide = """
import importlib.metadata as m, sys
version = m.version
def hidden(name):
    if name.lower() in ("torch", "transformers", "transformer-lens", "huggingface-hub", "safetensors", "tokenizers"):
        raise m.PackageNotFoundError(name)
    return version(name)
m.version = hidden
for name in ("torch", "transformers", "huggingface_hub", "safetensors"): sys.modules[name] = None
"""
    (tmp_path / "torch.py").unlink()
    for name in ("torch", "huggingface_hub"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')")
    missing = run_doctor(
        "--json", "--runs_root", str(tmp_path), before=hide, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}"
    )
    fields = json.loads(missing.stdout)
    assert missing.returncode == 0, fields
    assert any("torch is not installed: the viewers work" in f["text"] for f in fields["findings"])
    assert fields["next"][0].startswith("pip install -r requirements.txt")


def test_the_demo_model_answers() -> None:
    found = Probe("torch", "converted", "forward", "hub").result()
    assert found.failure == "" and set(found.found) == {"torch", "converted", "forward", "hub"}
    assert levels(forward_findings(found)) == ["ok"]
    assert "token" not in {k for part in ("hub",) for k in found.found[part]}


def test_the_port_is_that_of_the_server() -> None:
    assert places.PORT == 8600
