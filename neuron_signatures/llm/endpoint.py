"""The server that is asked, and its key: which addresses are allowed, and where the key comes from.

The key goes to `base_url` only, so that address is checked before anything is sent: https, or http on this machine.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from neuron_signatures.llm.wire.secret import Secret, checked_key, no_key
from neuron_signatures.runs.errors import UsageError

OPENAI_URL: Final = "https://api.openai.com/v1"
URL_VARIABLE: Final = "OPENAI_BASE_URL"
KEY_VARIABLE: Final = "OPENAI_API_KEY"

_FLAG = "--base_url"
_MAX_LENGTH = 500
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
# Names by which clouds offer the credentials of a machine to its programs.
_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
}
# Beside the link-local addresses, of which 169.254.169.254 is one: AWS over IPv6, Alibaba, Oracle, Azure.
_METADATA_ADDRESSES = {"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Endpoint:
    """A checked address. `base_url` has no slash at its end."""

    base_url: str
    host: str
    is_loopback: bool

    @property
    def is_openai(self) -> bool:
        return self.host == "api.openai.com" or self.host.endswith(".api.openai.com")


def open_endpoint(base_url: str | None, *, allow_http: bool = False, flag: str = _FLAG) -> Endpoint:
    """The address given, or that of `OPENAI_BASE_URL`, or OpenAI's. Raises `UsageError` if it is not allowed.

    `allow_http` permits http to other machines, where the key and the prompts can be read on the way. `flag` is where
    the address was given.
    """
    where = flag
    if base_url is None:
        base_url, where = os.environ.get(URL_VARIABLE) or OPENAI_URL, URL_VARIABLE
    parts = _split(base_url, where)
    host = (parts.hostname or "").rstrip(".").lower()
    address = _address(host)
    _check_host(host, address, where)
    is_loopback = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme == "http" and not (is_loopback or allow_http):
        raise _refused("http sends the key in clear text to another machine", where, "Use https, or pass --allow_http")
    return Endpoint(base_url.rstrip("/"), host, is_loopback)


def key_of(endpoint: Endpoint, variable: str = KEY_VARIABLE, environ: Mapping[str, str] | None = None) -> Secret:
    """The key in the environment variable; a server on this machine needs none. Raises `UsageError`."""
    if not re.fullmatch("[A-Z_][A-Z0-9_]{0,63}", variable):  # perhaps the key itself, so it is not shown
        what = "is not the name of an environment variable (capitals, digits and _)"
        raise UsageError(what, where="--api_key_env", next_step="Give the name of the variable, never the key")
    value = (os.environ if environ is None else environ).get(variable, "")
    if value:
        return checked_key(value, variable)
    if endpoint.is_loopback:
        return no_key()
    next_step = f"export {variable}=..., or name another variable with --api_key_env"
    raise UsageError(f"there is no key in the environment variable {variable}", next_step=next_step)


def _split(text: str, where: str) -> SplitResult:
    """The parts of the URL. Messages never repeat it: it may hold a password."""
    next_step = f"Give an address such as {OPENAI_URL} or http://127.0.0.1:8000/v1"
    if len(text) > _MAX_LENGTH or not text.isascii() or not text.isprintable() or set(text) & set(' \\"<>'):
        raise _refused("is not a URL", where, next_step)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as e:
        raise _refused("is not a URL", where, next_step) from e
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise _refused("is not an https or http address", where, next_step)
    if parts.username is not None or parts.password is not None:
        raise _refused("holds a user name or password", where, "Put the key into an environment variable")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _refused("holds a query or fragment", where, next_step)
    return parts


def _check_host(host: str, address: _Address | None, where: str) -> None:
    next_step = "Give the address of a server of language models"
    if address is None:
        if host in _METADATA_NAMES:
            raise _refused("is the address of a cloud's metadata service", where, next_step)
        if not _HOST.fullmatch(host):
            raise _refused("has no valid host", where, next_step)
        if _is_number(host.rpartition(".")[2]):  # 127.1, 0x7f000001, 2852039166: read differently by programs
            raise _refused("writes an IP address in an unusual form", where, "Give it as four decimal numbers")
    elif address.is_link_local or str(address) in _METADATA_ADDRESSES:
        raise _refused("is a link-local address or that of a cloud's metadata service", where, next_step)
    elif address.is_unspecified or address.is_multicast:
        raise _refused("is not the address of one machine", where, next_step)


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_number(label: str) -> bool:
    return label.isdigit() or re.fullmatch("0x[0-9a-f]*", label) is not None


def _refused(what: str, where: str, next_step: str) -> UsageError:
    return UsageError(what, where=where, next_step=next_step)
