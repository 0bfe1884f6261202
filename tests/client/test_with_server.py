"""The client against the real server, over a socket of loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy
from paths import DEMO_RUN, ROOT
from score_runs import make_scored_run
from served_api import ServedApi
from server_apps import demo_held
from test_viewers_without_torch import run_blocked

from neuron_signatures.api.live import ActivationsRequest
from neuron_signatures.client import Client, ServerProblem
from neuron_signatures.server.live.activations import activations_tensor
from neuron_signatures.server.runs.neuron_page import neuron_page
from neuron_signatures.server.runs.opened import OpenedRun
from neuron_signatures.views.coords import NeuronAt

TEXT = "The capital of the state containing Dallas is"
SECRET = "s3cret-t0ken-of-the-server"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_scored_run(folder / "scored")
    shutil.copytree(DEMO_RUN, folder / "demo")
    return folder


@pytest.fixture(scope="module")
def server(root):
    with ServedApi(demo_held(root), runs_root=root) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.url) as client:
        yield client


def test_every_path_answers(client):
    assert client.health().model.state == "ready"
    assert "demo" in {m.model_name for m in client.models().models}
    assert client.memory().ram.total > 0
    n = len(client.tokens(TEXT).tokens)
    assert client.next_token(TEXT).top[0].token == " Austin"
    assert {a.pos for a in client.activations(TEXT, top_k=2).top} == set(range(1, n))
    rows = client.influence(TEXT, on={"target": " Austin"}, top_k=3).rows
    edits = [{"layer": rows[0].layer, "neurons": [rows[0].neuron]}]
    found = client.intervene(TEXT, edits=edits, on={"target": " Austin"})
    assert found.effect == pytest.approx(found.after.value - found.before.value) and found.effect != 0
    plain = client.generate(TEXT, max_new_tokens=2).plain
    assert plain is not None and plain.text.startswith(" Austin")
    assert {r.name for r in client.runs().runs} == {"demo", "scored"}
    assert client.run("demo").model_name == "demo"
    assert client.neuron("scored", 0, 0, texts=1).index == "0"
    assert client.explanations("scored", words="theme", set="intervals", layer=1, current=True, limit=2).total == 4


def test_tensors_are_what_the_model_computes(client):
    request = ActivationsRequest(text=TEXT, layers=[1, 4])
    wanted = safetensors.numpy.load(activations_tensor(demo_held(), request, lambda: False))
    found = client.activations_tensor(request)
    assert list(found) == [1, 4]
    for layer, acts in found.items():
        np.testing.assert_allclose(acts, wanted[f"L{layer}"], rtol=1e-6)


def test_a_page_is_what_the_server_made(client, root):
    opened = OpenedRun(root / "scored")
    made = neuron_page(opened, NeuronAt(1, 3), n_texts=20, stop=lambda: False)
    opened.close()
    assert client.neuron("scored", 1, 3) == made


@pytest.mark.parametrize(
    ("call", "status", "kind"),
    [
        (lambda c: c.run("nothing"), 404, "not_found"),
        (lambda c: c.neuron("demo", 99, 0), 404, "not_found"),
        (lambda c: c.explanations("demo", limit=0), 422, "invalid_request"),
        (lambda c: c.next_token(TEXT, tokens=["two words"]), 422, "invalid_request"),
        (lambda c: c.load_model("somebody/else"), 403, "forbidden"),
    ],
)
def test_what_the_server_refuses_is_its_own_line(client, call, status, kind):
    with pytest.raises(ServerProblem) as caught:
        call(client)
    assert (caught.value.status, caught.value.type) == (status, kind)
    assert caught.value.detail


def test_a_restart_between_requests_is_not_noticed(root):
    with ServedApi(runs_root=root) as server, Client(server.url) as client:
        before = client.neuron("demo", 3, 508)
        server.restart()
        assert client.neuron("demo", 3, 508) == before
        server.stop()
        later = threading.Timer(0.3, server.start)
        later.start()
        assert client.runs() is not None
        later.join()


def test_a_server_that_ended_is_no_server(root):
    with ServedApi(runs_root=root) as server, Client(server.url, retries=1) as client:
        client.health()
        server.stop()
        for call in (client.health, client.runs):
            with pytest.raises(ServerProblem) as caught:
                call()
            assert caught.value.type == "no_server"


def test_the_token_opens_the_server(root, monkeypatch):
    monkeypatch.delenv("NEURON_SIGNATURES_TOKEN", raising=False)
    with ServedApi(runs_root=root, token=SECRET) as server:
        with Client(server.url, SECRET) as client:
            assert client.runs().total == 2
        for wrong in (None, "another"):
            with Client(server.url, wrong) as client, pytest.raises(ServerProblem) as caught:
                client.runs()
            assert (caught.value.status, caught.value.type) == (401, "unauthorized")


def test_the_client_needs_no_model_library(server):
    code = (
        "from neuron_signatures.client import Client\n"
        "with Client(sys.argv[1]) as c: print(c.activations_tensor('x')[0].shape[1], c.run('demo').name)\n"
        "assert not {'torch', 'pyarrow', 'pandas', 'fastapi'} & set(sys.modules)"
    )
    done = run_blocked(code, server.url)
    assert (done.returncode, done.stdout) == (0, "512 demo\n"), done.stderr


def example() -> str:
    """The first Python example of the documentation that uses the client."""
    for name in ("serve.md", "_frag_runsapi.md"):
        path = ROOT / "docs" / name
        blocks = path.read_text().split("```python\n")[1:] if path.exists() else []
        for block in blocks:
            if "import Client" in block:
                return block.partition("```")[0]
    raise AssertionError("the documentation has no example")


def test_the_example_of_the_documentation_ablates_a_neuron(server):
    code = example()
    assert "Client()" in code
    done = subprocess.run(
        [sys.executable, "-c", code.replace("Client()", f"Client({server.url!r})")], capture_output=True, text=True,
        check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *neurons, one, many = done.stdout.splitlines()
    assert len(neurons) == 5 and neurons[0].startswith("L")
    effects = [float(line.split()[1]) for line in (one, many)]
    assert effects[1] < effects[0] < 0
