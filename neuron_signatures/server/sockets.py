"""The socket that the server listens on. Imports nothing heavy, so that a port in use is said at once."""

from __future__ import annotations

import errno
import os
import socket

from neuron_signatures.runs.errors import EnvironmentProblem, UsageError


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to this address, not yet listening; port 0 is any free one.

    Raises `EnvironmentProblem` if the port is in use or not allowed, `UsageError` for a host without an address here.
    """
    where = f"--host {host} --port {port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as e:
        raise UsageError(f"{host!r} has no address", where=where, next_step="Use --host 127.0.0.1") from e
    bound = socket.socket(family, kind, proto)
    if os.name == "posix":  # a port whose connections were closed a moment ago; on Windows, one that is in use
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as e:
        bound.close()
        if e.errno == errno.EADDRNOTAVAIL:
            raise UsageError("not an address of this machine", where=where, next_step="Use --host 127.0.0.1") from e
        what = "the port is in use" if e.errno == errno.EADDRINUSE else (e.strerror or str(e))
        raise EnvironmentProblem(what, where=where, next_step="Use another --port; 0 takes a free one") from e
    bound.set_inheritable(False)
    return bound


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])
