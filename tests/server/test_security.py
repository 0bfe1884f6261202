"""Who may ask: Host, Origin, Sec-Fetch-Site, the token; and the headers of every answer."""

from __future__ import annotations

import pytest
from server_apps import served

from neuron_signatures.server.security import own_hosts
from neuron_signatures.server.settings import Settings

TOKEN = "a-token-of-enough-characters"


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def get(client, **headers):
    return client.get("/v1/health", headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8600", "127.0.0.1:8600", "[::1]", "[::1]:8600", "127.0.0.1", "localhost:8600"]
)
def test_the_server_s_own_names(client, host):
    assert get(client, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8600", "localhost:8601", "localhost.evil.example", "127.0.0.1.evil.example", "",
     "localhost:", "localhost:8600:8600", "user@localhost", "localhost/", " ", "[::2]", "0.0.0.0", "localhost\t.x"],
)  # fmt: skip
def test_another_host_is_refused(client, host):
    answer = get(client, Host=host)
    assert answer.status_code == 403
    problem = answer.json()
    assert problem["type"] == "forbidden" and "is not this server" in problem["detail"]
    assert "--allowed_host" in problem["next_step"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:8600", 200), ("https://localhost:8600", 200), ("http://localhost", 403), ("null", 403),
     ("http://localhost:8501", 403), ("http://127.0.0.1:8600", 403), ("https://evil.example", 403), ("", 403),
     ("http://localhost:8600.evil.example", 403), ("file://", 403)],
)  # fmt: skip
def test_only_a_page_of_the_server_itself_may_ask(client, origin, status):
    answer = get(client, Host="localhost:8600", Origin=origin)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403), ("x", 403)]
)
def test_a_page_of_another_site_is_refused_without_an_origin_too(client, site, status):
    assert get(client, Sec_Fetch_Site=site).status_code == status


def test_a_preflight_is_refused_without_cors_headers(client):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/model", headers=asked)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/health", "/v1/openapi.json", "/nothing"])
def test_headers_of_every_answer(client, path):
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/"])
def test_there_is_no_page(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("sent", "status"),
    [(f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (None, 401), ("", 401), ("Bearer ", 401),
     (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401), (f"Basic {TOKEN}", 401), (TOKEN, 401),
     ("Bearer \u00e9", 401)],
)  # fmt: skip
def test_the_token(sent, status):
    headers = {} if sent is None else {"Authorization": sent.encode("latin-1")}
    with served(token=TOKEN) as client:
        for path in ("/v1/health", "/v1/openapi.json"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == status
            assert TOKEN not in answer.text
            if status == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["type"] == "unauthorized"


def test_two_tokens_are_none():
    with served(token=TOKEN) as client:
        assert client.get("/v1/health", headers=[("Authorization", f"Bearer {TOKEN}")] * 2).status_code == 401


def test_the_token_is_in_no_description_of_the_settings():
    assert TOKEN not in repr(Settings(token=TOKEN)) + str(Settings(token=TOKEN))


def test_names_of_a_server_that_others_reach():
    settings = Settings(host="gpu1", port=80, allowed_hosts=("Node7", "gate.example:9000", "[fe80::1]"))
    assert {"gpu1", "gpu1:80", "localhost", "node7", "node7:80", "gate.example:9000", "[fe80::1]:80"} <= own_hosts(
        settings
    )
    assert not {"gate.example", "gate.example:80", "[fe80::1]:9000"} & own_hosts(settings)


def test_the_wildcard_address_is_no_name():
    settings = Settings(host="0.0.0.0")
    assert not {"0.0.0.0", "0.0.0.0:8600"} & own_hosts(settings)
    assert settings.url.removeprefix("http://").lower() in own_hosts(settings)
