"""The client against a server that answers as told: repetitions, limits, and one line for whatever goes wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from misbehaving_server import (
    HOSTILE,
    Act,
    Asked,
    MisbehavingServer,
    bad_gateway,
    cut,
    half_json,
    hang,
    huge,
    redirect,
    send_json,
    web_page,
)
from processes import free_port

from neuron_signatures.api.live import EditMessage, InterveneRequest, NextTokenRequest
from neuron_signatures.api.problem import MEDIA_TYPE
from neuron_signatures.client import Client, ServerProblem
from neuron_signatures.client.address import open_address
from neuron_signatures.client.wire import Call, Wire
from neuron_signatures.runs.arrays import write_arrays
from neuron_signatures.runs.errors import UsageError

SECRET = "s3cret-t0ken-of-the-server"
CHANCE = {"token_id": 1, "token": " x", "logit": 1.0, "log_prob": -1.0, "prob": 0.4, "rank": 0}
NEXT = {"tokens": [{"pos": 0, "token_id": 1, "token": "x"}], "pos": 0, "top": [CHANCE], "asked": [], "entropy": 1.0,
        "warnings": []}  # fmt: skip


def health(state: str = "none", name: str | None = None, **model) -> Act:
    held = {"state": state, "model_name": name, "facts": None, "failure": "", **model}
    return send_json({"status": "ok", "version": "1", "started_at_utc": "2026-01-01T00:00:00+00:00", "model": held})


def state_of(act: Act, status: int = 200) -> Act:
    """The model state of a health answer, as the answer of /model."""
    return send_json(json.loads(act.body)["model"], status)


def problem(status: int, kind: str = "queue_full", detail: str = "what happened", **headers: str) -> Act:
    value = {"type": kind, "title": "A title", "status": status, "detail": detail, "next_step": "Do this"}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Act(json.dumps(value).encode(), status, {"Content-Type": MEDIA_TYPE, **named})


def full(retry_after: float | str = 0.01) -> Act:
    return problem(429, Retry_After=str(retry_after))


def root_of(server: MisbehavingServer) -> str:
    return server.base_url.removesuffix("/v1")


def asked(script, *, call=lambda c: c.next_token("x"), **options) -> list[Asked]:
    """What the server was asked, when the call ended with an answer."""
    with MisbehavingServer(script) as server, Client(root_of(server), **options) as client:
        call(client)
    return server.requests


def failed(script, *, call=lambda c: c.next_token("x"), **options) -> tuple[ServerProblem, int]:
    """The problem that a call ends with, and the number of requests."""
    with MisbehavingServer(script) as server, Client(root_of(server), **options) as client:  # noqa: SIM117
        with pytest.raises(ServerProblem) as caught:
            call(client)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 400
    return caught.value, len(server.requests)


# --- requests and answers


def test_an_answer_is_a_message():
    with MisbehavingServer([health()]) as server, Client(root_of(server)) as client:
        found = client.health()
    assert (found.version, found.model.state) == ("1", "none")
    assert (server.requests[0].path, server.requests[0].headers["accept-encoding"]) == ("/v1/health", "identity")


def test_a_request_is_a_text_or_fields_or_a_message():
    calls = (
        lambda c: c.next_token("x", top_k=3),
        lambda c: c.next_token(text="x", top_k=3),
        lambda c: c.next_token(NextTokenRequest(text="x", top_k=3)),
    )
    for call in calls:
        (request,) = asked([send_json(NEXT)], call=call)
        assert request.path == "/v1/next_token"
        assert NextTokenRequest.model_validate(request.body) == NextTokenRequest(text="x", top_k=3)


def test_nested_fields_become_messages():
    edits = [{"layer": 1, "neurons": [2], "kind": "add", "value": 3}]
    with MisbehavingServer() as server, Client(root_of(server)) as client, pytest.raises(ServerProblem):
        client.intervene("x", edits=edits, on={"target": " y"})  # answered with a chat completion
    wanted = InterveneRequest(
        text="x", edits=[EditMessage(layer=1, neurons=[2], kind="add", value=3)], on={"target": " y"}
    )
    assert InterveneRequest.model_validate(server.requests[0].body) == wanted


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda c: c.next_token("x", top=3), "top"),
        (lambda c: c.next_token(), "give text or token_ids"),
        (lambda c: c.next_token("x", token_ids=[1]), "not both"),
        (lambda c: c.next_token("x" * 200_000), "text"),
        (lambda c: c.intervene("x", edits=[]), "edits"),
        (lambda c: c.next_token(NextTokenRequest(text="x"), top_k=3), "top_k"),
        (lambda c: c.search("run", "x", by="smell"), "by"),
        (lambda c: c.run("../etc"), "not the name of a run"),
        (lambda c: c.run(".."), "not the name of a run"),
        (lambda c: c.run(""), "not the name of a run"),
        (lambda c: c.explanations("a\nb"), "not the name of a run"),
        (lambda c: c.neuron("a/b", 0, 0), "not the name of a run"),
    ],
)
def test_what_no_server_would_take_is_not_sent(call, named):
    with MisbehavingServer() as server, Client(root_of(server)) as client:
        with pytest.raises(UsageError, match=named):
            call(client)
        assert not server.requests


def test_names_and_words_are_escaped_in_the_address():
    with MisbehavingServer() as server, Client(root_of(server)) as client:
        for call in (
            lambda: client.explanations("my run?#%", words="a&limit=5 #b", layer=2, current=True, limit=10, offset=20),
            lambda: client.neuron("ä", 3, 508, texts=5),
            lambda: client.runs(limit=7),
        ):
            with contextlib.suppress(ServerProblem):
                call()
    paths = [r.path for r in server.requests]
    assert paths[0].startswith("/v1/runs/my%20run%3F%23%25/explanations?")
    assert {"words=a%26limit%3D5+%23b", "layer=2", "current=true", "limit=10", "offset=20"} == {
        p.replace("%20", "+") for p in paths[0].partition("?")[2].split("&")
    }
    assert paths[1:] == ["/v1/runs/%C3%A4/neurons/3/508?texts=5", "/v1/runs?limit=7&offset=0"]


# --- no server, lost connections, full queues


def test_without_a_server_the_error_says_how_to_start_one():
    url = f"http://127.0.0.1:{free_port()}"
    for call in (lambda c: c.health(), lambda c: c.next_token("x")):
        with Client(url, retries=1) as client, pytest.raises(ServerProblem) as caught:
            call(client)
        assert (caught.value.type, caught.value.status) == ("no_server", 0)
        assert str(caught.value) == (
            f"no server at {url}. Start one with `python -m neuron_signatures.serve --model_name demo`"
        )


def test_a_full_queue_is_waited_for():
    assert len(asked([full(), full(0.02), send_json(NEXT)])) == 3


def test_a_queue_that_stays_full_is_a_problem():
    found, n = failed(lambda _: full(), retries=2)
    assert (found.type, found.status, found.detail, n) == ("queue_full", 429, "what happened", 3)
    assert str(found) == "what happened. Do this"


def test_a_wait_beyond_the_time_limit_is_not_begun():
    found, n = failed(lambda _: full(3600))
    assert (found.type, n) == ("queue_full", 1)


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "inf", "1e400", "Fri, 31 Dec 99999 23:59:59 GMT"])
def test_an_invalid_retry_after_is_ignored(value):
    assert len(asked([full(value), send_json(NEXT)])) == 2


def test_a_server_that_stops_or_loads_is_waited_for():
    stopping = problem(503, "unavailable", Retry_After="0.01")
    assert len(asked([stopping, send_json(NEXT)])) == 2
    found, n = failed([problem(503, "out_of_memory")])
    assert (found.type, n) == ("out_of_memory", 1)


def test_a_lost_connection_is_repeated():
    assert len(asked([cut(), send_json(NEXT)])) == 2
    found, n = failed(lambda _: cut(), retries=2)
    assert (found.type, n) == ("no_answer", 3)


def test_loading_is_not_repeated_after_a_lost_connection():
    found, n = failed([cut()], call=lambda c: c.load_model("demo"))
    assert (found.type, n) == ("no_answer", 1)


def test_health_is_asked_once():
    assert failed(lambda _: full(), call=lambda c: c.health())[1] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 504])
def test_other_problems_are_final(status):
    found, n = failed([problem(status, "invalid_request")])
    assert (found.status, found.type, found.next_step, n) == (status, "invalid_request", "Do this", 1)


# --- time


def test_a_server_that_does_not_answer_is_given_up():
    assert failed([hang()], timeout=0.3)[0].type == "no_answer"


@contextlib.contextmanager
def dripping(start: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends `start`, and then `drip` every hundredth of a second."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(start)
            while not closing.wait(0.01):
                connection.sendall(drip)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closing.set()
        listener.close()


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_the_time_limit_holds_for_a_server_that_sends_slowly(start, drip):
    with dripping(start, drip) as url, Client(url, timeout=0.4) as client, pytest.raises(ServerProblem) as caught:
        client.health()
    assert caught.value.type == "no_answer" and "0.4 s" in caught.value.detail


# --- other servers, and hostile ones


@pytest.mark.parametrize(
    "act",
    [
        web_page(),
        bad_gateway(),
        half_json(),
        redirect("http://127.0.0.1:9/v1/next_token"),
        Act(b"", 204),
        Act(b"", 200),
        Act(b"null", 200),
        Act(b"[]", 200),
        Act(b'{"tokens": 3}', 200),
        Act(b"[" * 200_000, 200),
        Act(b'{"entropy": NaN}', 200),
        Act(b"9" * 10_000, 200),
        Act(b"\xff\xfe{}", 200),
        Act(b"{}", 200, {"Content-Encoding": "gzip"}),
        Act(b"not json", 404, {"Content-Type": MEDIA_TYPE}),
        Act(b'{"type": "no_such_type", "title": "x", "status": 404}', 404, {"Content-Type": MEDIA_TYPE}),
        Act(b'{"detail": "Not Found"}', 404, {"Content-Type": "application/json"}),
        Act(b"", 500, {"Content-Type": "\x80" * 5000}),
    ],
)
def test_the_answer_of_something_else_is_one_line(act):
    found, n = failed([act])
    assert (found.type, found.status, n) == ("bad_answer", act.status, 1)
    assert "127.0.0.1" in str(found)


def test_a_port_that_speaks_no_http_is_one_line():
    ssh = dripping(b"SSH-2.0-OpenSSH_9.6\r\n", b"")
    with ssh as url, Client(url, timeout=0.3) as client, pytest.raises(ServerProblem) as caught:
        client.health()
    assert caught.value.type == "no_answer"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 999 x\r\n\r\n",
        b"HTTP/1.1 -1 x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"\0" * 1000,
    ],
)
def test_a_response_against_the_rules_of_http_is_one_line(raw):
    with dripping(raw, b"") as url, Client(url, timeout=0.3, retries=0) as client:  # noqa: SIM117
        with pytest.raises(ServerProblem) as caught:
            client.runs()
    assert caught.value.type in ("no_answer", "bad_answer") and str(caught.value).isprintable()


def test_no_more_is_read_than_allowed():
    with MisbehavingServer([huge(), Act(huge().body, 500, {"Content-Type": MEDIA_TYPE})]) as server:
        wire = Wire(open_address(root_of(server)), None, retries=0, connect_seconds=5)
        with contextlib.closing(wire):
            for call in (Call("GET", "/health", max_bytes=1000), Call("GET", "/health")):
                with pytest.raises(ServerProblem, match="larger than") as caught:
                    wire.send(call, 10)
                assert caught.value.type == "bad_answer"
    assert server.sent_bytes < 2 * len(huge().body)


def test_a_redirect_is_not_followed():
    with MisbehavingServer() as other:
        found, _ = failed([redirect(f"{other.base_url}/next_token")], token=SECRET)
        assert found.status == 307 and not other.requests


def test_hostile_texts_of_a_problem_are_escaped():
    found, _ = failed([problem(404, "not_found", HOSTILE[:500])])
    assert "\x1b" not in str(found) and "\\x1b" in str(found)


# --- the token


def test_the_token_is_sent_and_not_shown(monkeypatch):
    (request,) = asked([send_json(NEXT)], token=SECRET)
    assert request.key == SECRET
    monkeypatch.setenv("NEURON_SIGNATURES_TOKEN", SECRET)
    assert asked([send_json(NEXT)])[0].key == SECRET
    echoing = Act(problem(401, "unauthorized", "{key} is wrong").body, 401, {"Content-Type": MEDIA_TYPE}, echo=True)
    found, _ = failed([echoing])
    assert SECRET not in str(found) and SECRET not in repr(found.__dict__)
    with Client() as client:
        assert SECRET not in repr(client) and SECRET not in repr(vars(client)) and SECRET not in str(vars(client._wire))


def test_without_a_token_none_is_sent(monkeypatch):
    monkeypatch.delenv("NEURON_SIGNATURES_TOKEN", raising=False)
    assert "authorization" not in asked([send_json(NEXT)])[0].headers


@pytest.mark.parametrize("url", ["http://example.org:8600", "http://10.0.0.7", "http://127.0.0.1.example.org"])
def test_the_token_does_not_go_to_another_machine_in_clear_text(url):
    with pytest.raises(UsageError, match="clear text") as caught:
        Client(url, token=SECRET)
    assert SECRET not in str(caught.value)
    Client(url, token=SECRET, allow_http=True).close()
    Client(url.replace("http:", "https:"), token=SECRET).close()
    Client(url, token="").close()


def test_a_token_that_no_header_can_hold_is_refused():
    with pytest.raises(UsageError) as caught:
        Client(token="two\nlines")
    assert "lines" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8600", "ftp://127.0.0.1", "http://", "http://a b", "http://127.0.0.1:99999", "http://u:p@127.0.0.1",
     "http://127.0.0.1/?x=1", "http://127.0.0.1/#x", "http://\x1b", "http://" + "x" * 1000, "file:///etc/passwd"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="server's address") as caught:
        Client(url)
    assert "u:p" not in str(caught.value)


def test_a_path_before_the_api_is_kept():
    """As behind the proxy of a notebook server."""
    with MisbehavingServer([health()]) as server, Client(f"{root_of(server)}/proxy/8600/") as client:
        client.health()
    assert server.requests[0].path == "/proxy/8600/v1/health"


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with MisbehavingServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, root_of(proxy))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert asked([send_json(NEXT)])
        assert not proxy.requests


# --- tensors


def tensors(**arrays: np.ndarray) -> bytes:
    file = BytesIO()
    write_arrays(file, arrays)
    return file.getvalue()


def header(fields: dict[str, object], rest: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text + rest


def test_tensors_are_arrays_by_layer():
    acts = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    with MisbehavingServer([Act(tensors(L0=acts[0], L17=acts[1]))]) as server, Client(root_of(server)) as client:
        found = client.activations_tensor("x")
    assert list(found) == [0, 17]
    np.testing.assert_array_equal(found[0], acts[0])
    np.testing.assert_array_equal(found[17], acts[1])


def test_bfloat16_is_widened():
    values = np.array([[1.0, -2.5, 0.0078125]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    body = header({"L3": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, 6]}}, bits)
    with MisbehavingServer([Act(body)]) as server, Client(root_of(server)) as client:
        np.testing.assert_array_equal(client.activations_tensor("x")[3], values)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff" * 100,
        tensors(layer0=np.zeros((1, 2), np.float32)),
        tensors(L00=np.zeros((1, 2), np.float32)),
        tensors(L0=np.zeros(2, np.float32)),
        tensors(L0=np.zeros((1, 2), np.int64)),
        tensors(L0=np.zeros((1, 2), np.float32))[:-1],
        header({"L0": {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 1 << 62]}}),
        header({f"L{i}": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]} for i in range(90)}, b"\0" * 8),
        header({"L0": {"dtype": "F32", "shape": [0, 5], "data_offsets": [4, 0]}}),
    ],
)
def test_bytes_that_are_no_activations_are_one_line(body):
    found, _ = failed([Act(body)], call=lambda c: c.activations_tensor("x"))
    assert found.type == "bad_answer"


# --- loading a model


def loading(*states: Act, first: int = 202, **options):
    """What `load_model("demo")` returns or raises, if the server says these states one after the other."""
    script = [state_of(states[0], first), *states[1:]]
    with MisbehavingServer(script) as server, Client(root_of(server)) as client:
        try:
            return client.load_model("demo", **options)
        except ServerProblem as e:
            return e


def test_loading_waits_until_the_model_is_ready():
    state = loading(health("loading", "demo"), health("loading", "demo"), health("ready", "demo"))
    assert (state.state, state.model_name) == ("ready", "demo")
    assert loading(health("ready", "demo"), first=200).state == "ready"


def test_without_waiting_the_state_is_the_first():
    assert loading(health("loading", "demo"), wait=False).state == "loading"


def test_a_model_that_cannot_be_loaded_is_a_problem():
    found = loading(health("loading", "demo"), health("failed", "demo", failure="no space\x1b for it"))
    assert isinstance(found, ServerProblem) and found.type == "load_failed"
    assert str(found) == "no space\\x1b for it"


@pytest.mark.parametrize("after", [health("ready", "other"), health("none"), health("failed", "other")])
def test_another_client_may_change_the_model_meanwhile(after):
    found = loading(health("loading", "demo"), after)
    assert isinstance(found, ServerProblem) and found.type == "no_model" and "demo" in str(found)


def test_loading_goes_on_after_a_lost_connection():
    assert loading(health("loading", "demo"), cut(), cut(), health("ready", "demo")).state == "ready"


def test_loading_ends_with_its_time():
    found = loading(*[health("loading", "demo")] * 20, seconds=0.3)
    assert isinstance(found, ServerProblem) and found.type == "no_answer" and "still being loaded" in str(found)


def test_unloading_is_a_delete():
    with MisbehavingServer([state_of(health())]) as server, Client(root_of(server)) as client:
        assert client.unload_model().state == "none"


def test_threads_share_a_client():
    def call(client: Client, found: list[str]) -> None:
        found += [client.health().version for _ in range(5)]

    found: list[str] = []
    with MisbehavingServer(lambda _: health()) as server, Client(root_of(server)) as client:
        threads = [threading.Thread(target=call, args=(client, found)) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["1"] * 120
