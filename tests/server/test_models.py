"""The list of models, loading, switching and unloading."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import wait_until
from server_apps import add_job, logged, served

from neuron_signatures.demo import model_dir
from neuron_signatures.models.catalog import SUGGESTIONS
from neuron_signatures.models.fit import bytes_needed
from neuron_signatures.models.info import model_info
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.server import holder as holding

SECONDS = 30
DEMO = {"model_name": "demo", "wait_seconds": 60}


def state_of(client):
    return client.get("/v1/health").json()["model"]


def test_the_model_of_the_flags_is_loaded_at_the_start():
    with served(model_name="demo", model_dtype="bf16") as client:
        wait_until(lambda: state_of(client)["state"] == "ready", SECONDS, "it is loaded")
        facts = state_of(client)["facts"]
    assert facts["model_name"] == "demo" and facts["dtype"] == "bf16" and facts["device"] == "cpu"
    assert facts["architecture"] == "Gemma2ForCausalLM" and facts["weights_bytes"] > 2 * 1_500_000
    assert (facts["n_layers"], facts["d_mlp"], facts["d_model"], facts["context"]) == (5, 512, 128, 256)
    assert facts["parameters"] == 1_595_136 and facts["adds_bos"] is True and facts["quantization"] == "none"


def test_without_a_model_jobs_are_409():
    with served() as client:
        add_job(client.app, "/job", lambda held, stop: 1)
        assert state_of(client) == {"state": "none", "model_name": None, "facts": None, "failure": ""}
        answer = client.post("/job", json={})
        assert (answer.status_code, answer.json()["type"]) == (409, "no_model")
        assert "POST /v1/model" in answer.json()["next_step"]


def test_load_and_unload():
    with served() as client:
        add_job(client.app, "/job", lambda held, stop: held.facts.model_name)
        answer = client.post("/v1/model", json=DEMO)
        assert (answer.status_code, answer.json()["state"]) == (200, "ready")
        assert client.post("/job", json={}).json() == "demo"
        assert client.get("/v1/memory").json()["weights_bytes"] == answer.json()["facts"]["weights_bytes"]
        assert client.delete("/v1/model").json()["state"] == "none"
        assert client.app.state.service.holder.held is None
        assert client.post("/job", json={}).status_code == 409
        assert client.get("/v1/memory").json()["weights_bytes"] == 0
        assert client.delete("/v1/model").json()["state"] == "none"


def test_nothing_of_an_unloaded_model_is_kept():
    """Not by the bridge of an intervention, nor by the traceback of a request that failed."""
    text = {"text": "The capital of Texas is"}
    edits = [{"layer": 1, "neurons": [5], "kind": "zero"}]
    with served() as client:
        for body in (DEMO, {**DEMO, "model_dtype": "bf16"}):
            client.post("/v1/model", json=body)
            model = weakref.ref(client.app.state.service.holder.held.model.hf)
            assert client.post("/v1/intervene", json={**text, "edits": edits, "controls": 2}).status_code == 200
            assert client.post("/v1/influence", json=text).status_code == 200
            assert client.post("/v1/generate", json={**text, "max_new_tokens": 2, "edits": edits}).status_code == 200
            assert client.post("/v1/next_token", json={**text, "pos": 100}).status_code == 422
        client.delete("/v1/model")
        assert model() is None


def test_the_same_model_is_not_loaded_twice():
    with served() as client:
        first = client.post("/v1/model", json=DEMO).json()
        held = client.app.state.service.holder.held
        assert client.post("/v1/model", json={**DEMO, "wait_seconds": 30}).json() == first
        assert client.app.state.service.holder.held is held
        other = client.post("/v1/model", json={**DEMO, "model_dtype": "bf16"}).json()
        assert other["facts"]["dtype"] == "bf16"
        client.delete("/v1/model")
        assert client.post("/v1/model", json={**DEMO, "model_dtype": "bf16"}).json()["state"] == "ready"


@pytest.mark.parametrize("name", ["google/gemma-9", "/etc", "../demo", "demo/", "DEMO", ".", model_dir().as_posix(),
                                  "file:///etc/passwd", "\x00", "demo\x1b[0m"])  # fmt: skip
def test_only_models_of_the_list_are_loaded(name):
    with served() as client:
        answer = client.post("/v1/model", json={"model_name": name})
        assert (answer.status_code, answer.json()["type"]) == (403, "forbidden")
        assert "--allow_model" in answer.json()["next_step"] and "\x1b" not in answer.text
        assert state_of(client)["state"] == "none"


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "-x", "a b", "\x00", "refs/..", "x" * 300])
def test_a_revision_is_no_path(revision):
    with served() as client:
        answer = client.post("/v1/model", json={"model_name": "demo", "model_revision": revision})
        assert answer.status_code == 422
        assert "not a branch, tag or commit" in answer.json()["detail"]
        assert state_of(client)["state"] == "none"


def test_a_folder_that_the_owner_allowed():
    folder = model_dir().as_posix()
    with served(allow_models=(folder,)) as client:
        listed = {m["model_name"]: m for m in client.get("/v1/models").json()["models"]}
        assert listed[folder]["parameters"] == listed["demo"]["parameters"] == 1_595_136
        assert client.post("/v1/model", json={**DEMO, "model_name": folder}).json()["state"] == "ready"


def test_the_list():
    with served(model_name="demo", allow_models=("acme/unheard-of",)) as client:
        listed = client.get("/v1/models").json()["models"]
    names = [m["model_name"] for m in listed]
    assert names[:3] == ["demo", "acme/unheard-of", "smollm2"]
    assert len(names) == len(set(names)) == len(SUGGESTIONS) + 2
    demo, unknown, smollm2 = listed[:3]
    assert demo["fits"] == "as it is" and demo["in_cache"] is True and demo["weights_bytes"] == 1_595_136 * 4
    assert 0 < demo["weights_bytes_4bit"] < demo["weights_bytes"]
    assert unknown["parameters"] is unknown["weights_bytes"] is unknown["fits"] is None
    assert unknown["in_cache"] is False and smollm2["n_layers"] == 30
    gated = {m["model_name"]: m["gated"] for m in listed}
    assert gated["google/gemma-2-2b"] and not gated["EleutherAI/pythia-70m"]


@pytest.mark.parametrize(("free", "fits"), [(600e6, "as it is"), (400e6, "8bit"), (160e6, "4bit"), (100e6, "no")])
def test_what_fits_into_the_memory(monkeypatch, free, fits):
    monkeypatch.setattr("neuron_signatures.server.known.free_memory", lambda device, several: int(free))
    with served() as client:
        assert {m["model_name"]: m["fits"] for m in client.get("/v1/models").json()["models"]}["smollm2"] == fits


def test_the_present_model_does_not_count_against_another(monkeypatch):
    needed = bytes_needed(model_info(ModelSpec("demo")), "fp32", "none") / 0.95
    monkeypatch.setattr("neuron_signatures.server.known.free_memory", lambda device, several: int(needed - 1e6))
    with served() as client:
        before = client.get("/v1/models").json()["models"][0]["fits"]
        client.post("/v1/model", json=DEMO)
        after = client.get("/v1/models").json()
    assert before != "as it is" == after["models"][0]["fits"]
    assert after["current"]["model_name"] == "demo"


def test_a_model_that_does_not_fit_is_quantised_and_says_so(monkeypatch):
    info = model_info(ModelSpec("demo"))
    free = int(bytes_needed(info, "fp32", "8bit") / 0.95) + 1
    assert free < bytes_needed(info, "fp32", "none")
    monkeypatch.setattr("neuron_signatures.models.fit.free_memory", lambda device, several: free)
    with served() as client:
        facts = client.post("/v1/model", json=DEMO).json()["facts"]
        assert facts["quantization"] == "8bit" and "in 8bit" in facts["quantization_reason"]
        facts = client.post("/v1/model", json={**DEMO, "quantization": "none"}).json()["facts"]
        assert facts["quantization"] == "none" and facts["quantization_reason"] == ""


def test_a_model_that_fits_in_no_form_is_not_tried(monkeypatch):
    monkeypatch.setattr("neuron_signatures.models.fit.free_memory", lambda device, several: 1000)
    with served() as client:
        state = client.post("/v1/model", json=DEMO).json()
        assert state["state"] == "failed" and "quantization none tries it" in state["failure"]
        assert client.post("/v1/model", json={**DEMO, "quantization": "none"}).json()["state"] == "ready"


def test_a_model_that_cannot_be_loaded_is_a_state_and_the_server_goes_on(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    with served(allow_models=(str(broken),)) as client:
        add_job(client.app, "/job", lambda held, stop: 1)
        client.post("/v1/model", json=DEMO)
        answer = client.post("/v1/model", json={**DEMO, "model_name": str(broken)})
        assert (answer.status_code, answer.json()["state"]) == (200, "failed")
        assert answer.json()["failure"].startswith(f"model {broken}: ") and "\n" not in answer.json()["failure"]
        refused = client.post("/job", json={})
        assert (refused.status_code, refused.json()["type"]) == (409, "no_model")
        assert "loading failed" in refused.json()["detail"]
        assert client.post("/v1/model", json=DEMO).json()["state"] == "ready"
        assert client.post("/job", json={}).json() == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [({"device": "cuda:99"}, "CUDA devices here"), ({"device": "warp"}, "not a device"),
     ({"model_revision": "main", "device": "meta"}, "not supported")],
)  # fmt: skip
def test_a_device_that_is_not_there(wanted, said):
    with served() as client:
        answer = client.post("/v1/model", json={**DEMO, **wanted})
        assert answer.json()["state"] == "failed" and said in answer.json()["failure"]


def test_a_defect_while_loading_is_a_failure_and_is_logged(monkeypatch):
    def load_model(spec, quiet):
        raise ZeroDivisionError

    with served() as client, logged("neuron_signatures.server.jobs") as records:
        add_job(client.app, "/job", lambda held, stop: 1)
        with monkeypatch.context() as patched:
            patched.setattr(holding, "load_model", load_model)
            answer = client.post("/v1/model", json=DEMO)
            assert answer.status_code == 500 and "Traceback" not in answer.text
        assert state_of(client)["state"] == "failed" and "log" in state_of(client)["failure"]
        assert client.post("/v1/model", json=DEMO).json()["state"] == "ready"
        assert client.post("/job", json={}).json() == 1
    assert [r.exc_info[0] for r in records] == [ZeroDivisionError]


class SlowLoad:
    """`load_model` that waits until it may go on."""

    def __init__(self, monkeypatch):
        self.begun, self.may_end = threading.Event(), threading.Event()
        self._load = holding.load_model
        monkeypatch.setattr(holding, "load_model", self)

    def __call__(self, spec, quiet):
        self.begun.set()
        assert self.may_end.wait(SECONDS)
        return self._load(spec, quiet=quiet)


def test_a_switch_waits_for_the_running_job_and_refuses_new_ones(monkeypatch, held):
    """Jobs that came before the switch get the old model."""
    slow = SlowLoad(monkeypatch)
    running, may_end = threading.Event(), threading.Event()

    def work(held, stop):
        running.set()
        assert may_end.wait(SECONDS)
        return held.facts.dtype

    with served(held) as client, ThreadPoolExecutor(4) as pool:
        add_job(client.app, "/job", work)
        add_job(client.app, "/dtype", lambda held, stop: held.facts.dtype)
        first = pool.submit(client.post, "/job", json={})
        assert running.wait(SECONDS)
        second = pool.submit(client.post, "/dtype", json={})
        wait_until(lambda: client.app.state.service.waiting == 2, SECONDS, "both wait")
        answer = client.post("/v1/model", json={"model_name": "demo", "model_dtype": "bf16"})
        assert (answer.status_code, answer.json()["state"]) == (202, "loading")
        refused = client.post("/dtype", json={})
        assert (refused.status_code, refused.json()["type"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0 and "being loaded" in refused.json()["detail"]
        assert not slow.begun.is_set()
        may_end.set()
        assert first.result(SECONDS).json() == second.result(SECONDS).json() == "fp32"
        assert slow.begun.wait(SECONDS)
        assert client.app.state.service.holder.held is None, "one model at a time"
        assert state_of(client)["state"] == "loading"
        again = client.post("/v1/model", json={"model_name": "demo", "model_dtype": "bf16"})
        assert again.status_code == 202
        assert client.post("/v1/model", json={"model_name": "smollm2"}).status_code == 503
        assert client.delete("/v1/model").status_code == 503
        slow.may_end.set()
        wait_until(lambda: state_of(client)["state"] == "ready", SECONDS, "the new model is loaded")
        assert client.post("/dtype", json={}).json() == "bf16"


def test_only_one_load_waits(monkeypatch):
    """Also of the same model in other forms: otherwise clients could queue any number of loads."""
    slow = SlowLoad(monkeypatch)
    with served() as client:
        assert client.post("/v1/model", json={"model_name": "demo"}).status_code == 202
        for other in ({"model_dtype": "bf16"}, {"quantization": "none"}, {"model_revision": "main"}, {"device": "cpu"}):
            refused = client.post("/v1/model", json={"model_name": "demo", **other})
            assert (refused.status_code, refused.json()["type"]) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) > 0
        assert client.post("/v1/model", json={"model_name": "demo"}).status_code == 202
        assert client.app.state.service.waiting == 1
        slow.may_end.set()
        wait_until(lambda: state_of(client)["state"] == "ready", SECONDS, "it is loaded")
        assert state_of(client)["facts"]["dtype"] == "fp32"


def test_loading_what_is_being_unloaded(held):
    running, may_end = threading.Event(), threading.Event()

    def work(held, stop):
        running.set()
        assert may_end.wait(SECONDS)

    with served(held) as client, ThreadPoolExecutor(4) as pool:
        add_job(client.app, "/job", work)
        job = pool.submit(client.post, "/job", json={})
        assert running.wait(SECONDS)
        unloaded = pool.submit(client.delete, "/v1/model")
        wait_until(lambda: client.app.state.service.waiting == 2, SECONDS, "the unloading waits")
        assert [client.post("/v1/model", json={"model_name": "demo"}).status_code for _ in range(3)] == [202] * 3
        assert client.app.state.service.waiting == 3
        may_end.set()
        assert job.result(SECONDS).status_code == unloaded.result(SECONDS).status_code == 200
        wait_until(lambda: state_of(client)["state"] == "ready", SECONDS, "it is loaded")
        assert [client.post("/v1/model", json={"model_name": "demo"}).status_code for _ in range(2)] == [200] * 2
        assert client.app.state.service.waiting == 0


def test_a_server_that_stops_while_it_loads(monkeypatch):
    slow = SlowLoad(monkeypatch)
    with served(model_name="demo") as client:
        assert slow.begun.wait(SECONDS)
        assert state_of(client) == {"state": "loading", "model_name": "demo", "facts": None, "failure": ""}
        slow.may_end.set()
    assert not client.app.state.service.busy


def test_memory_of_the_machine():
    with served() as client:
        memory = client.get("/v1/memory").json()
    ram = memory["ram"]
    assert 0 < ram["free"] < ram["total"] and 0 < ram["used_by_server"] < ram["total"]
    assert memory["queue"] == memory["weights_bytes"] == 0
