"""The Hub's cache, keys and addresses in the environment, runs, and the server's port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from neuron_signatures.cli.doctor.child import Probed
from neuron_signatures.cli.doctor.finding import KEYS, Finding, host_of, shown
from neuron_signatures.models.catalog import SUGGESTIONS
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.listing import RunSummary, list_runs

PORT: Final = 8600
_ADDRESSES: Final = (
    "HF_ENDPOINT", "OPENAI_BASE_URL", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY",
    "all_proxy",
)  # fmt: skip
_WALK_SECONDS: Final = 1.0
_MOST_RUNS: Final = 1000


class Runs(NamedTuple):
    """The names of the complete runs below the root, newest first; `others` are stopped, broken or being written."""

    names: tuple[str, ...]
    others: int


def hub_findings(probed: Probed, converted: Probed) -> list[Finding]:
    """Where the Hub's files are, and which of the suggested models are among them."""
    found = probed.found.get("hub")
    if found is None:
        return [Finding("hub", "note", f"huggingface_hub cannot be imported: {probed.failure}",
                        "pip install -r requirements.txt")]  # fmt: skip
    cache = Path(found["cache"])
    lines = [_size_of("the Hub's cache", cache)]
    names = [s.model_name for s in SUGGESTIONS if (cache / f"models--{s.model_name.replace('/', '--')}").is_dir()]
    there = ", ".join(names) if names else "none"
    lines.append(Finding("hub", "ok", f"suggested models in it: {there}"))
    if "converted" in converted.found:
        lines.append(_size_of("models converted from GGUF files", Path(converted.found["converted"]["folder"])))
    if found["offline"]:
        what = "HF_HUB_OFFLINE is set: only models that are in the cache, in packages or folders can be loaded"
        lines.append(Finding("hub", "note", what, "unset HF_HUB_OFFLINE to download"))
    file = Path(found["token_file"])
    state = "there" if file.is_file() else "not there"
    token = "the Hub gets a token" if found["has_token"] else "the Hub gets no token: gated models cannot be loaded"
    lines.append(Finding("hub", "ok", f"{token}; token file {shown(str(file))}: {state}"))
    return lines


def key_findings(environ: Mapping[str, str]) -> list[Finding]:
    """Which keys are there: never any part of them, nor their length."""
    found = []
    for name, use in KEYS.items():
        value = environ.get(name)
        if value is not None and not value.strip():
            found.append(Finding("keys", "note", f"{name} is set, but empty", f"Set it to the key, or unset {name}"))
        else:
            found.append(Finding("keys", "ok", f"{name}: {'not set' if value is None else 'set'} (for {use})"))
    return found


def address_findings(environ: Mapping[str, str]) -> list[Finding]:
    """Addresses in the environment, without what may be a key in them."""
    named = [(name, environ[name].strip()) for name in _ADDRESSES if environ.get(name, "").strip()]
    return [Finding("keys", "ok", shown(f"{name}: {host_of(value)}", environ)) for name, value in named]


def runs_findings(root: Path) -> tuple[list[Finding], Runs]:
    """Whether runs can be written below the root, and which are there."""
    where = shown(str(root))
    there = next((p for p in (root, *root.absolute().parents) if p.exists()), Path("/"))
    lines = []
    if not there.is_dir():
        lines.append(Finding("runs", "problem", f"{where} is not a folder", "Give another --runs_root"))
    elif not os.access(there, os.W_OK | os.X_OK):
        lines.append(Finding("runs", "problem", f"{where} cannot be written", "Choose another folder (--out_dir)"))
    found = list[RunSummary]()
    if root.is_dir():
        try:
            found = list(islice(list_runs(root), _MOST_RUNS))
        except (ProjectError, OSError) as e:
            lines.append(Finding("runs", "problem", shown(f"{where}: {e}")))
    complete = sorted((r for r in found if r.status == "complete"), key=lambda r: r.created_at_utc, reverse=True)
    others = len(found) - len(complete)
    there_yet = "" if root.is_dir() else " (not there yet)"
    text = f"{len(complete)} complete {'run' if len(complete) == 1 else 'runs'} in {where}{there_yet}"
    if others:
        step = f"python -m neuron_signatures.runs list {where}"
        lines.append(Finding("runs", "note", f"{text}, and {others} stopped, broken or being written", step))
    else:
        lines.append(Finding("runs", "ok", text))
    return lines, Runs(tuple(r.name for r in complete), others)


def port_finding(port: int = PORT) -> Finding:
    """Whether the port of `serve` is free on this machine, or what answers there."""
    where = f"port {port} of 127.0.0.1"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            pass
    except ConnectionRefusedError:
        return Finding("server", "ok", f"{where} is free for `serve`")
    except OSError as e:
        return Finding("server", "note", f"{where}: {shown(e.strerror or str(e))}", "Give serve another --port")
    answer = _health(port)
    if answer is None:
        return Finding("server", "note", f"{where} is used by another program", "Give serve another --port")
    if answer.get("type") == "unauthorized":
        return Finding("server", "ok", f"{where}: our server, which asks for its token")
    model = answer.get("model")
    name = model.get("model_name") if isinstance(model, dict) else None
    return Finding("server", "ok", f"{where}: our server, model {shown(str(name or 'none'))}")


def _health(port: int) -> dict[str, Any] | None:
    """What the server there says of itself; None if it is another program."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/v1/health")
        answer = json.loads(connection.getresponse().read(65536))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None
    finally:
        connection.close()
    if not isinstance(answer, dict):
        return None
    ours = answer.get("status") == "ok" and "version" in answer
    return answer if ours or (answer.get("type") == "unauthorized" and answer.get("status") == 401) else None


def _size_of(what: str, folder: Path) -> Finding:
    """A folder, and the bytes in it; at least those that can be counted in a second."""
    where = shown(str(folder))
    if not folder.is_dir():
        return Finding("hub", "ok", f"{what}: {where} (not there yet)")
    total, start, partly = 0, time.monotonic(), ""
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{at}/{name}").st_size
        if time.monotonic() - start > _WALK_SECONDS:
            partly = "at least "
            break
    return Finding("hub", "ok", f"{what}: {where}, {partly}{human_bytes(total)}")
