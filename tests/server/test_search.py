"""POST /v1/runs/{run}/search."""

from __future__ import annotations

import pytest
from explanation_logs import explanation, write_log
from search_runs import TEXTS, WordEmbedder, explained_run, index, write_writes
from server_apps import served

from neuron_signatures.server.runs import search_answer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    run_dir = explained_run(root / "indexed")
    write_writes(run_dir, {(0, 1): ([(" Austin", 1.0)], [(" Texas", -1.5)])})
    index(run_dir, WordEmbedder())
    explained_run(root / "plain")
    return root


@pytest.fixture(scope="module")
def client(root):
    with served(runs_root=root) as client:
        yield client


@pytest.fixture
def embedder(monkeypatch):
    """Words in place of MiniLM."""
    model = WordEmbedder()
    monkeypatch.setattr(search_answer, "load_model", lambda name, device: model)
    return model


def search(client, run: str, **body) -> dict:
    answer = client.post(f"/v1/runs/{run}/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_by_words_with_and_without_an_index(client):
    for run in ("indexed", "plain"):
        found = search(client, run, query="capital cities", kinds=["explanation"], top_k=1)
        assert found["hits"][0]["text"] == TEXTS["L0N0+"] and found["hits"][0]["set"] == "a"
        assert found["seconds"] >= 0
    exemplar = search(client, "indexed", query="Austin", kinds=["exemplar"], layers=[0])["hits"][0]
    start, stop = exemplar["peak"]
    assert exemplar["layer"] == 0 and exemplar["text"][start:stop] == " Austin" and exemplar["rank"] >= 1
    assert search(client, "plain", query="Austin")["hits"] == []


def test_by_token(client):
    hit = search(client, "indexed", query="·Texas", by="token")["hits"][0]
    assert (hit["neuron"], hit["pole"], hit["kind"], hit["score"], hit["z"]) == (1, "-", "token", 1.5, 3.0)
    hit = search(client, "indexed", query="·Texas", by="token", suppressed=True)["hits"][0]
    assert (hit["pole"], hit["score"]) == ("+", -1.5)


def test_by_meaning_the_query_is_embedded_by_the_server(root, embedder):
    with served(runs_root=root) as client:
        hits = search(client, "indexed", query=TEXTS["L1N6-"], by="meaning", top_k=3)["hits"]
    assert hits[0]["text"] == TEXTS["L1N6-"] and hits[0]["score"] == pytest.approx(1, abs=1e-3)
    assert embedder.embedded == [TEXTS["L1N6-"]]


@pytest.mark.parametrize(("run", "body", "status", "detail"), [
    ("none", {"query": "x"}, 404, "there is no run 'none'"), ("..", {"query": "x"}, 404, ""),
    ("indexed", {"query": ""}, 422, "query: String should have at least 1 character"),
    ("indexed", {"query": "..."}, 422, "query: there is no word to look for"),
    ("indexed", {"query": "x", "by": "magic"}, 422, "by: Input should be"),
    ("indexed", {"query": "x", "kinds": []}, 422, "kinds: "), ("indexed", {"query": "x", "top_k": 0}, 422, "top_k: "),
    ("indexed", {"query": "x", "layers": [-1]}, 422, "layers.0: "), ("indexed", {}, 422, "query: Field required"),
    ("plain", {"query": "x", "by": "token"}, 422, "plain: there are no write scores to search"),
    ("plain", {"query": "x", "by": "meaning"}, 422, "there is no index to search by meaning"),
])  # fmt: skip
def test_errors_are_problems_that_do_not_name_a_path(client, root, run, body, status, detail):
    answer = client.post(f"/v1/runs/{run}/search", json=body)
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(detail) and str(root) not in answer.text


def test_an_index_of_another_model_is_422(root, tmp_path, monkeypatch):
    run_dir = explained_run(tmp_path / "other")
    index(run_dir, WordEmbedder("other", fingerprint="words:2"))
    monkeypatch.setattr(search_answer, "load_model", lambda name, device: WordEmbedder())
    with served(runs_root=tmp_path) as client:
        answer = client.post("/v1/runs/other/search", json={"query": "x", "by": "meaning"})
    assert answer.status_code == 422
    assert "made with other, words:2, the query would be embedded by words, words:1" in answer.json()["detail"]


def test_a_server_without_an_embedder_says_so(root):
    with served(runs_root=root, embedder="none") as client:
        answer = client.post("/v1/runs/indexed/search", json={"query": "x", "by": "meaning"})
        assert answer.status_code == 422 and "--embedder minilm" in answer.json()["next_step"]
        assert search(client, "indexed", query="capital")["hits"]


def test_a_damaged_index_is_409_and_new_explanations_are_noted(root, tmp_path):
    run_dir = explained_run(tmp_path / "run")
    index(run_dir)
    with served(runs_root=tmp_path) as client:
        assert search(client, "run", query="capital")["notes"] == []
        write_log(run_dir, explanation("the capital of Peru", set="b"), set_name="b")
        found = search(client, "run", query="Peru", kinds=["explanation"])
        assert len(found["hits"]) == 1 and "--run_dir RUNS_ROOT/run`" in found["notes"][0]
        (run_dir / "search" / "words.sqlite").write_bytes(b"x")
        (run_dir / "search" / "search_meta.json").touch()
        answer = client.post("/v1/runs/run/search", json={"query": "capital"})
        assert answer.status_code == 409 and answer.json()["detail"].startswith("run/search/words.sqlite: ")
