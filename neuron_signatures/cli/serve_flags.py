"""The flags of the server, and the settings that they mean."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from neuron_signatures.cli.arguments import at_least, folder, number, parse_bytes
from neuron_signatures.cli.model_flags import add_quantization_flag
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_text_input
from neuron_signatures.runs.names import MANIFEST

if TYPE_CHECKING:
    from neuron_signatures.server.settings import Settings

RUNS_VARIABLE: Final = "NEURON_SIGNATURES_RUNS"
TOKEN_VARIABLE: Final = "NEURON_SIGNATURES_TOKEN"
_TOKEN: Final = re.compile(r"[!-~]{16,512}")
_MAKE_TOKEN: Final = "python -c 'import secrets; print(secrets.token_urlsafe())' > FILE"
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def add_serve_flags(parser: Parser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model_name", metavar="NAME",
        help="loaded at the start: demo, smollm2, a Hugging Face id, a folder or a .gguf file; default: none",
    )  # fmt: skip
    model.add_argument("--model_revision", metavar="REV", help="branch, tag or commit")
    model.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"), help="default: bf16 on a GPU, else fp32")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps; default auto")
    add_quantization_flag(model)
    model.add_argument("--allow_model", action="append", default=[], metavar="NAME",
                       help="clients may load it, as well as demo, smollm2 and the suggested ones")  # fmt: skip
    runs = parser.add_argument_group("runs")
    runs.add_argument("--runs_root", type=folder, metavar="DIR",
                      help=f"folder with your runs; default: ${RUNS_VARIABLE}, else runs, if it exists")  # fmt: skip
    runs.add_argument("--embedder", choices=("minilm", "none"), default="minilm",
                      help="the model of the search by meaning; default minilm")  # fmt: skip
    _add_network_flags(parser)
    _add_limit_flags(parser)
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")


def _add_network_flags(parser: Parser) -> None:
    network = parser.add_argument_group("network")
    network.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
    network.add_argument("--port", type=at_least(0), default=8600, help="0 takes a free one; default 8600")
    network.add_argument("--allowed_host", action="append", type=_host, default=[], metavar="HOST[:PORT]",
                         help="another name by which clients call the server; repeatable")  # fmt: skip
    network.add_argument("--token_file", type=folder, metavar="FILE",
                         help=f"clients must send this token; default: ${TOKEN_VARIABLE}, else none")  # fmt: skip


def _add_limit_flags(parser: Parser) -> None:
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max_queue", type=at_least(1), default=16, metavar="N",
                        help="requests that wait or run; default 16")  # fmt: skip
    limits.add_argument("--timeout", type=_seconds, default=60.0, metavar="SECONDS",
                        help="of a request, waiting included; default 60")  # fmt: skip
    limits.add_argument("--max_tokens", type=at_least(1), default=1024, metavar="N", help="of a text; default 1024")
    limits.add_argument("--max_body", type=parse_bytes, default=1_000_000, metavar="SIZE",
                        help="of a request's body; default 1MB")  # fmt: skip


def serve_settings(args: argparse.Namespace) -> Settings:
    """The settings. Raises `UsageError` for a port out of range, runs that do not exist, a token that is too short, and
    for an address that others can reach without a token."""
    from neuron_signatures.server.settings import LOOPBACK, Settings

    if args.port > 65_535:
        raise UsageError("ports end at 65535", where=f"--port {args.port}")
    token = _token(args.token_file)
    if token is None and args.host not in LOOPBACK:
        raise UsageError(
            "others can reach this address, so a token is needed", where=f"--host {args.host}",
            next_step=f"Use --token_file FILE (made by {_MAKE_TOKEN}) or 127.0.0.1 and ssh -L",
        )  # fmt: skip
    return Settings(
        model_name=args.model_name, model_revision=args.model_revision, model_dtype=args.model_dtype,
        device=args.device, quantization=args.quantization, allow_models=tuple(args.allow_model),
        runs_root=_runs_root(args.runs_root), host=args.host, port=args.port,
        allowed_hosts=tuple(args.allowed_host), token=token, max_queue=args.max_queue, timeout=args.timeout,
        max_tokens=args.max_tokens, max_body=args.max_body, embedder=args.embedder,
    )  # fmt: skip


def _runs_root(given: Path | None) -> Path | None:
    """The folder of the runs; None if none was asked for and the default one does not exist."""
    root = given if given is not None else folder(os.environ.get(RUNS_VARIABLE) or "runs")
    if (root / MANIFEST).is_file():
        raise UsageError("this folder is a run", where=f"--runs_root {root}", next_step="Give its parent folder")
    if root.is_dir():
        return root
    if given is not None or os.environ.get(RUNS_VARIABLE):
        raise UsageError(
            "there is no such folder", where=f"--runs_root {root}", next_step="Give the folder of your runs"
        )
    return None


def _token(file: Path | None) -> str | None:
    """The token of the file, else of the environment, without white space around it."""
    if file is None:
        text, where = os.environ.get(TOKEN_VARIABLE, "").strip(), f"${TOKEN_VARIABLE}"
        if not text:
            return None
    else:
        text, where = read_text_input(file, max_bytes=4096).strip(), f"--token_file {file}"
    if not _TOKEN.fullmatch(text):
        what = "a token has 16 to 512 printable ASCII characters and no spaces"
        raise UsageError(what, where=where, next_step=f"Make one: {_MAKE_TOKEN}")
    return text


def _seconds(text: str) -> float:
    value = number(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a day")
    return value


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name such as gpu1 or gpu1:8600")
    return text
