"""Slow, silent and endless clients, on a socket."""

from __future__ import annotations

import psutil
import pytest
from processes import wait_until
from server_apps import listening, logged, read_all
from starlette.responses import Response

from neuron_signatures.server import listening as module

HEAD = b"POST /v1/model HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)


@pytest.mark.parametrize(
    "sent", [b"", b"G", GET, GET + b"\r\n" + GET], ids=["nothing", "letter", "head", "second head"]
)
def test_a_client_that_does_not_finish_the_head_is_cut_off(impatient, sent):
    with listening() as server, server.connect() as connection:
        connection.sendall(sent)
        answer = read_all(connection)
        assert answer.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


def test_a_client_that_does_not_finish_the_body_gets_408():
    with listening(body_timeout=0.3) as server, server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_without_an_end_is_cut_off(impatient):
    """The answer is 413; what the client goes on sending is not read for ever."""
    with listening(max_body=1000) as server, server.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                connection.sendall(b"400\r\n" + b" " * 0x400 + b"\r\n")
        except OSError:
            pass
        wait_until(lambda: not server.service.busy, 30, "no job was made")


def test_an_answer_that_takes_longer_than_a_head_may_is_sent(impatient):
    with listening(body_timeout=30.0) as server, server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.settimeout(1)
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(b"{}")
        assert read_all(connection).startswith(b"HTTP/1.1 422 ")


def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch):
    """Otherwise it could keep any number of large answers in the memory of the server."""
    monkeypatch.setattr(module, "SEND_SECONDS", 0.3)
    size = 64 << 20
    with listening() as server, server.connect() as connection:
        server.app.add_api_route("/large", lambda: Response(bytes(size)))
        mine = connection.getsockname()

        def is_open() -> bool:
            ends = psutil.Process().net_connections()
            return any(c.raddr == mine and c.status == "ESTABLISHED" for c in ends)

        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(lambda: not is_open(), 30, "it is cut off")


def test_one_connection_for_several_requests():
    with listening() as server, server.connect() as connection:
        for _ in range(3):
            connection.sendall(GET + b"\r\n")
            answer = b""
            while not answer.endswith(b"}}"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200") and b"\r\nserver:" not in answer.lower()


def test_too_many_connections_are_503(monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS", 3)
    with logged("uvicorn.error"), listening() as server:
        open_ones = [server.connect() for _ in range(3)]
        try:
            wait_until(lambda: server.send(GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 503"), 30, "503")
        finally:
            for connection in open_ones:
                connection.close()
        wait_until(lambda: server.send(GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200"), 30, "200")
