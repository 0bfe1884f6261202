"""What a body may be."""

from __future__ import annotations

import json

import pytest
from server_apps import served

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client():
    with served(max_body=1000) as client:
        yield client


def post(client, body, **headers):
    return client.post("/v1/model", content=body, headers={**JSON, **headers})


@pytest.mark.parametrize("media_type", ["text/plain", "", "application/jsonx", "multipart/form-data; boundary=x",
                                        "application/x-www-form-urlencoded"])  # fmt: skip
def test_a_body_of_another_type(client, media_type):
    answer = client.post("/v1/model", content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["type"]) == (415, "unsupported_media_type")
    assert answer.json()["next_step"] == "Send Content-Type: application/json"


def test_parameters_of_the_type_are_accepted(client):
    answer = client.post("/v1/model", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "Expecting value"), (b"{", "property name"), (b'{"model_name": NaN}', "NaN"), (b"[Infinity]", "Infinity"),
     (b"[-Infinity]", "-Infinity"), (b"[" * 500 + b"]" * 400, "nested deeper"), (b'{"a":' * 150, "nested deeper"),
     (b"[" + b"9" * 400 + b"]", "20 digits"), (b"[1e999]", "1e100"), (b'"\xff"', "can't decode"),
     (b'{"a": 1} {}', "Extra data"), (b"\x00", "Expecting value"), (b"'a'", "Expecting value")],
)  # fmt: skip
def test_what_is_not_strict_json(client, body, said):
    answer = post(client, body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "invalid_request"
    assert problem["detail"].startswith("the body is not valid JSON") and said in problem["detail"]


def test_a_body_that_says_its_length(client):
    answer = post(client, b"[" + b" " * 1000 + b"]")
    assert (answer.status_code, answer.json()["type"]) == (413, "too_large")
    assert "1,000 bytes" in answer.json()["detail"] and "--max_body" in answer.json()["next_step"]


@pytest.mark.parametrize("length", ["1001", "9" * 30])
def test_a_length_that_is_not_sent(client, length):
    assert post(client, b"{}", **{"Content-Length": length}).status_code == 413


def test_a_body_in_chunks_without_a_length(client):
    chunks = (b" " * 100 for _ in range(11))
    assert client.post("/v1/model", content=chunks, headers=JSON).status_code == 413


def test_the_longest_body(client):
    body = json.dumps({"model_name": "x"}).encode()
    answer = post(client, body + b" " * (1000 - len(body)))
    assert answer.status_code == 403  # the model is not on the list


@pytest.mark.parametrize(
    ("body", "detail"),
    [({}, "model_name: Field required"), ([], "Input should be a valid dictionary"),
     ({"model_name": 3}, "model_name: Input should be a valid string"),
     ({"model_name": "demo", "wait_seconds": 1e9}, "wait_seconds: Input should be less than or equal to 600"),
     ({"model_name": "demo", "\u001b[31m<b>": 1}, "\\x1b[31m<b>: Extra inputs are not permitted"),
     ({"model_name": "\ud800"}, "model_name: Input should be a valid string"),
     ({"a" * 500: 1, "model_name": "demo"}, "a" * 40 + ": Extra inputs")],
)  # fmt: skip
def test_a_wrong_shape_is_one_line_about_the_first_field(client, body, detail):
    answer = client.post("/v1/model", content=json.dumps(body), headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["status"]) == (422, "invalid_request", 422)
    assert problem["detail"].startswith(detail), problem
    assert "\n" not in problem["detail"] and "\x1b" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "TRACE", "PURGE"])
def test_another_method(client, method):
    answer = client.request(method, "/v1/health")
    assert answer.status_code == 405
    if method != "HEAD":
        assert answer.json()["type"] == "method_not_allowed"
        assert answer.json()["next_step"] == "GET /v1/openapi.json lists the paths"


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/health/", "/v1//health", "/v1/%2e%2e/health", "/v1/%00",
                                  "/v1/" + "x" * 5000])  # fmt: skip
def test_another_path(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "not_found")
    assert len(answer.text) < 1000
