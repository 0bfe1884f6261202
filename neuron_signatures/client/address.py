"""The address of the server, and the token that it may get."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from neuron_signatures.llm.wire.secret import Secret, checked_key
from neuron_signatures.runs.errors import UsageError

DEFAULT_URL: Final = "http://127.0.0.1:8600"
TOKEN_VARIABLE: Final = "NEURON_SIGNATURES_TOKEN"
_MAX_LENGTH = 500
_WHERE = "the server's address"
_NEXT_STEP = f"Give an address such as {DEFAULT_URL}"


@dataclass(frozen=True)
class Address:
    """A checked address. `url` has no slash at its end."""

    url: str
    is_loopback: bool
    is_encrypted: bool


def open_address(url: str) -> Address:
    """The address of a server. Raises `UsageError`, which does not repeat it: it may hold a password."""
    parts = _split(url)
    host = (parts.hostname or "").lower()
    netloc = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    return Address(
        f"{parts.scheme}://{netloc}{port}{parts.path.rstrip('/')}", _is_loopback(host), parts.scheme == "https"
    )


def token_for(address: Address, token: str | None, *, allow_http: bool) -> Secret | None:
    """The token given, or that of the environment; None without one.

    Raises `UsageError` if it would be sent in clear text to another machine and `allow_http` is not set.
    """
    where = "token"
    if token is None:
        token, where = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    if not token:
        return None
    if not (address.is_encrypted or address.is_loopback or allow_http):
        next_step = "Use https or an SSH tunnel, or pass allow_http=True"
        raise UsageError("http sends the token in clear text to another machine", where=where, next_step=next_step)
    return checked_key(token, where)


def _split(url: str) -> SplitResult:
    if len(url) > _MAX_LENGTH or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>'):
        raise _refused("is not a URL")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as e:
        raise _refused("is not a URL") from e
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused("is not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise UsageError("holds a user name or password", where=_WHERE, next_step=f"Set {TOKEN_VARIABLE} instead")
    if parts.query or parts.fragment:
        raise _refused("holds a query or fragment")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(what: str) -> UsageError:
    return UsageError(what, where=_WHERE, next_step=_NEXT_STEP)
