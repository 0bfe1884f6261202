"""The paths of the live model, through the app."""

from __future__ import annotations

import pytest
import safetensors.torch
from intervention_runs import demo_run
from live_cases import DALLAS, held_with_runs
from server_apps import served

EDIT = {"layer": 3, "neurons": [508]}
BODIES = {
    "tokens": {},
    "activations": {"neurons": [{"layer": 3, "neuron": 508}], "against_run": "run"},
    "next_token": {"tokens": [" Austin"]},
    "influence": {"reference": "run:run", "on": {"target": " Austin", "foil": " Denver"}},
    "intervene": {"edits": [{**EDIT, "kind": "mean", "reference_run": "run"}], "controls": 20},
    "generate": {"edits": [EDIT], "max_new_tokens": 4},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    demo_run(root)
    with served(held_with_runs(root), runs_root=root) as client:
        yield client


@pytest.mark.parametrize("path", BODIES)
def test_every_path_answers(client, path):
    response = client.post(f"/v1/{path}", json={"text": DALLAS, **BODIES[path]})
    assert response.status_code == 200, response.text
    answer = response.json()
    tokens = answer.get("tokens") or answer["prompt"]
    assert [t["token"] for t in tokens][-2:] == [" Dallas", " is"]
    assert client.post(f"/v1/{path}", json={"text": DALLAS, **BODIES[path]}).json() == answer


def test_tensors_are_the_bytes_of_a_safetensors_file(client):
    response = client.post("/v1/activations/tensor", json={"text": DALLAS, "layers": [3]})
    assert response.status_code == 200 and response.headers["content-type"] == "application/octet-stream"
    (acts,) = safetensors.torch.load(response.content).values()
    body = {"text": DALLAS, **BODIES["activations"]}
    assert acts[:, 508].tolist() == client.post("/v1/activations", json=body).json()["neurons"][0]["acts"]


@pytest.mark.parametrize("path", [*BODIES, "activations/tensor"])
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"token_ids": [99999]}, "token_ids: 99999 is not in 0..2840"),
        ({"text": "a" * 2000}, "tokens, this server and model take 60"),
        ({"text": "", "bos": "off"}, "text: the text has no tokens"),
    ],
)
def test_a_wrong_text_is_a_problem(client, path, body, detail):
    more = {} if path == "activations/tensor" else BODIES[path]
    response = client.post(f"/v1/{path}", json={**{k: v for k, v in more.items() if k != "text"}, **body})
    assert response.status_code == 422 and detail in response.json()["detail"]
    assert response.headers["content-type"] == "application/problem+json"


def test_the_schema_names_the_paths_and_the_bytes(client):
    paths = client.get("/v1/openapi.json").json()["paths"]
    assert {f"/v1/{p}" for p in (*BODIES, "activations/tensor")} <= set(paths)
    answer = paths["/v1/activations/tensor"]["post"]["responses"]["200"]
    assert list(answer["content"]) == ["application/octet-stream"]
