"""`transformers serve` with SmolLM2 on loopback: an OpenAI-compatible server that this project did not write.

    with RealServer() as server:
        ... f"openai:{server.model}", server.base_url

The model is called by its folder, here `smollm2` in the folder in which the server runs. Any key is accepted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from processes import free_port

from neuron_signatures.models.hub import find_source
from neuron_signatures.models.spec import ModelSpec

START_SECONDS = 240
"""To import torch, load the model and listen; a busy machine of two cores needs up to a minute."""


class RealServer:
    """The server, on the CPU with one thread. Entering waits until it answers; leaving stops it."""

    model = "smollm2"

    def __init__(self) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self._folder = tempfile.TemporaryDirectory(prefix="real-server-")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the server
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RealServer:
        _link_model(Path(self._folder.name) / self.model)
        program = Path(sys.executable).with_name("transformers")
        flags = ["--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu", "--dtype", "float32"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [program, "serve", self.model, *flags], cwd=self._folder.name, stdout=self._log,
            stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"transformers serve ended:\n{self.output()[-3000:]}"
            assert time.monotonic() < end, f"transformers serve does not answer:\n{self.output()[-3000:]}"
            time.sleep(0.2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def output(self) -> str:
        """What the server printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _link_model(folder: Path) -> None:
    """The converted model, with a generation config that samples: the server of transformers 5.23 heeds the temperature
    of a request only then."""
    source = Path(find_source(ModelSpec("smollm2", dtype="fp32", device="cpu")).path)
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).symlink_to(file)
    name = "generation_config.json"
    (folder / name).unlink()
    (folder / name).write_text(json.dumps({**json.loads((source / name).read_text()), "do_sample": True}))
