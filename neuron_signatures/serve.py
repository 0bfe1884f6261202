"""Serve a live model and the runs of a folder over HTTP on this machine (docs/serve.md).

Reads:  the model, and every run folder directly under --runs_root. Writes nothing into them.
Prints  the address on stdout when it answers; logs go to stderr.

    python -m neuron_signatures.serve --model_name demo --runs_root runs --port 8600
    curl http://127.0.0.1:8600/v1/health

Ends with code 0 when Ctrl-C, SIGTERM or SIGHUP stops it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import emit, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.serve_flags import add_serve_flags, serve_settings
from neuron_signatures.runs.errors import ExitCode


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    settings = serve_settings(args)
    from neuron_signatures.server.sockets import bind, port_of

    with bind(settings.host, settings.port) as bound:
        settings = replace(settings, port=port_of(bound))
        from neuron_signatures.server.app import make_app
        from neuron_signatures.server.listening import listen

        ended = listen(make_app(settings), bound, started=lambda: _say(settings.url))
    if not ended:  # a forward pass or a download goes on in a thread, for which Python would wait
        sys.stdout.flush()
        os._exit(ExitCode.OK)
    return ExitCode.OK


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.serve", description=__doc__)
    add_serve_flags(parser)
    return parser


def _say(url: str) -> None:
    emit(url)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
