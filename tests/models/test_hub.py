"""Loading from a local server that takes the place of the Hub: a model, or one error line without the token."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT
from tiny_models import tiny_model_dir

from neuron_signatures.models.faults import condense, library_faults
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError

TOKEN = "hf_" + "thisIsNoRealToken"
REFUSED = [f"org/{name}" for name in ("gated", "forbidden", "missing", "private", "down", "old", "gguf")]
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
import json, os, sys
from neuron_signatures.cli.output import setup_logging
from neuron_signatures.models.load import ModelSpec, load_model
from neuron_signatures.models.identity import model_identity
from neuron_signatures.runs.errors import ProjectError
setup_logging(quiet=False)
def load(name):
    try:
        spec = ModelSpec(name, device="cpu", revision="v9" if name.endswith("old") else None)
        model = load_model(spec)
        return str(model_identity(spec, model.config, model.tokenizer))
    except ProjectError as e:
        return f"{type(e).__name__} {e.line()}"
lines = {name: load(name) for name in sys.argv[1:]}
del os.environ["HF_TOKEN"]
lines["org/gated without a token"] = load("org/gated")
print(json.dumps(lines))
"""


class Loaded(NamedTuple):
    lines: dict[str, str]
    """What came of each name: the identity of the model, or the error line."""
    stderr: str


def load_in_new_process(cache: Path, *names: str, **environ: str) -> Loaded:
    """Load these names in a process with this environment, which the libraries read when they are imported."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cache), "OMP_NUM_THREADS": "1", "HF_TOKEN": TOKEN, **environ}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *names],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return Loaded(json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def online(cache: Path, hub_url: str) -> Loaded:
    return load_in_new_process(cache, "org/there", *REFUSED, HF_ENDPOINT=hub_url)


@pytest.fixture(scope="module")
def unreachable(cache: Path, online: Loaded) -> Loaded:
    """After `online` has filled the cache."""
    return load_in_new_process(cache, "org/there", "google/gemma-2-2b", HF_ENDPOINT="http://127.0.0.1:9")


def check_help(line: str) -> None:
    assert line.startswith("EnvironmentProblem ")
    for word in ("HF_TOKEN", "HF_HUB_OFFLINE", "--model_name demo"):
        assert word in line


def test_refusals_are_one_line_each_without_the_token(online: Loaded) -> None:
    gated, forbidden, missing, private, down, old, gguf = (online.lines[name] for name in REFUSED)
    for line in (gated, forbidden, missing, private, down):
        check_help(line)
    for name in REFUSED:
        assert f"model {name}: " in online.lines[name]
    assert "gated and HF_TOKEN has no access" in gated and "licence" in forbidden
    assert "not found" in missing and "private" in private and "does not answer" in down
    assert old.startswith("UsageError") and "--model_revision 'v9'" in old
    assert gguf.startswith("UsageError") and "config.json" in gguf
    assert "gated and HF_TOKEN is not set" in online.lines["org/gated without a token"]
    assert online.stderr == "" and TOKEN not in "".join(online.lines.values())


def test_no_network_is_one_line(unreachable: Loaded) -> None:
    line = unreachable.lines["google/gemma-2-2b"]
    check_help(line)
    assert "google/gemma-2-2b: not in the local cache, and http://127.0.0.1:9 does not answer" in line
    assert unreachable.stderr == "model org/there: the Hub does not answer; loaded from the local cache\n"


def test_a_hub_model_loads_from_the_cache_when_offline_or_without_network(
    cache: Path, online: Loaded, unreachable: Loaded
) -> None:
    loaded = online.lines["org/there"]
    assert f"revision='{COMMIT}'" in loaded and "weights_fingerprint=None" in loaded
    offline = load_in_new_process(cache, "org/there", "org/gone", HF_HUB_OFFLINE="1")
    assert offline.lines["org/there"] == unreachable.lines["org/there"] == loaded and offline.stderr == ""
    check_help(offline.lines["org/gone"])
    assert "HF_HUB_OFFLINE is set" in offline.lines["org/gone"]


def test_library_messages_are_shortened_and_hide_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-of-another-form")
    error = OSError(f"Cannot read it\n with {TOKEN} or secret-of-another-form. Try again. " + "x" * 500)
    assert condense(error) == "Cannot read it with *** or ***"
    assert len(condense(OSError("y" * 500))) == 240
    assert condense(OSError()) == "OSError"


def test_a_model_with_outdated_code_names_a_replacement() -> None:
    with (
        pytest.raises(UsageError, match=r"Use Qwen/Qwen1\.5-1\.8B: .*transformers 4"),
        library_faults(ModelSpec("Qwen/Qwen-1_8B")),
    ):
        raise ValueError("The repository contains custom code; pass trust_remote_code=True")
