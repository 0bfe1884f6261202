"""The Hub, played by a server of our own that refuses, fails or has a model: one line each, and no token in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from paths import ROOT
from tiny_models import tiny_model_dir

from neuron_signatures.models.faults import condense, library_faults
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError

TOKEN = "hf_" + "thisIsNoRealToken"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    refusals = {  # noqa: RUF012
        "gated": (401, "GatedRepo"), "forbidden": (403, "GatedRepo"), "missing": (404, "RepoNotFound"),
        "private": (401, ""), "old": (404, "RevisionNotFound"), "down": (503, ""), "gguf": (404, "EntryNotFound"),
    }  # fmt: skip

    def do_GET(self) -> None:
        _, _, repo, *rest = self.path.split("/")
        if repo in self.refusals:
            code, error = self.refusals[repo]
            return self._answer(code, {"X-Error-Code": error, "X-Error-Message": f"no entry with {TOKEN}\nsorry"})
        file = tiny_model_dir("llama") / "/".join(rest[2:])
        if not file.is_file():
            return self._answer(404, {"X-Error-Code": "EntryNotFound"})
        return self._answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{file.name}"'}, file.read_bytes())

    do_HEAD = do_GET

    def _answer(self, code: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value.replace("\n", " "))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


_PROGRAM = """
import sys, logging
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.models.load import *
from neuron_signatures.models.identity import model_identity
from neuron_signatures.runs.errors import ProjectError
setup_logging(quiet=False)
for name in sys.argv[1:]:
    try:
        spec = ModelSpec(name, device="cpu", revision="v9" if name.endswith("old") else None)
        model = load_model(spec)
        print(model_identity(model, model.config, model.tokenizer))
    except ProjectError as e:
        print(type(e).__name__, e.line())
"""


def in_another_process(names: list[str], cache: Path, **environ: str) -> tuple[list[str], str]:
    """One line for each name, and stderr, of a process with this environment and no other HF_ variable."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cache), "OMP_NUM_THREADS": "1", **environ}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *names],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    return lines, done.stderr


def check_help(line: str) -> None:
    assert line.startswith("EnvironmentProblem ")
    for word in ("HF_TOKEN", "HF_HUB_OFFLINE", "--model_name demo"):
        assert word in line


def test_refusals_are_one_line_each_without_the_token(tmp_path: Path, hub_url: str) -> None:
    names = [f"org/{name}" for name in ("gated", "forbidden", "missing", "private", "down", "old", "gguf")]
    lines, stderr = in_another_process(names, tmp_path, HF_ENDPOINT=hub_url, HF_TOKEN=TOKEN)
    gated, forbidden, missing, private, down, old, gguf = lines
    for line in (gated, forbidden, missing, private, down):
        check_help(line)
    for line, name in zip(lines, names, strict=True):
        assert f"model {name}: " in line
    assert "gated and HF_TOKEN has no access" in gated and "licence" in forbidden
    assert "not found" in missing and "private" in private and "does not answer" in down
    assert old.startswith("UsageError") and "--model_revision 'v9'" in old
    assert gguf.startswith("UsageError") and "config.json" in gguf
    assert stderr == "" and TOKEN not in "".join(lines)


def test_without_a_token_the_line_says_so(tmp_path: Path, hub_url: str) -> None:
    lines, _ = in_another_process(["org/gated"], tmp_path, HF_ENDPOINT=hub_url)
    assert "gated and HF_TOKEN is not set" in lines[0]


def test_no_network_is_one_line(tmp_path: Path) -> None:
    lines, stderr = in_another_process(["google/gemma-2-2b"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    check_help(lines[0])
    assert "google/gemma-2-2b: not in the local cache, and http://127.0.0.1:9 does not answer" in lines[0]
    assert stderr == ""


def test_hub_model_then_offline_then_without_network(tmp_path: Path, hub_url: str) -> None:
    online, stderr = in_another_process(["org/there"], tmp_path, HF_ENDPOINT=hub_url)
    assert f"revision='{COMMIT}'" in online[0] and "weights_fingerprint=None" in online[0]
    assert stderr == ""
    offline, stderr = in_another_process(["org/there", "org/gone"], tmp_path, HF_HUB_OFFLINE="1")
    assert offline[0] == online[0] and stderr == ""
    check_help(offline[1])
    assert "HF_HUB_OFFLINE is set" in offline[1]
    cut_off, stderr = in_another_process(["org/there"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert cut_off == online
    assert stderr == "model org/there: the Hub does not answer; loaded from the local cache\n"


def test_library_messages_are_condensed_and_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-of-another-form")
    error = OSError(f"Cannot read it\n with {TOKEN} or secret-of-another-form. Try again. " + "x" * 500)
    assert condense(error) == "Cannot read it with *** or ***"
    assert len(condense(OSError("y" * 500))) == 240
    assert condense(OSError()) == "OSError"


def test_a_model_whose_code_is_too_old_has_a_successor() -> None:
    with (
        pytest.raises(UsageError, match=r"Use Qwen/Qwen1\.5-1\.8B: .*transformers 4"),
        library_faults(ModelSpec("Qwen/Qwen-1_8B")),
    ):
        raise ValueError("The repository contains custom code; pass trust_remote_code=True")
