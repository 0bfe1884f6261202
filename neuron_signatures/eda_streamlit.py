"""Web explorer for the runs of a folder. It loads no model, and writes only what people say about explanations.

The view Live talks to a server of neuron_signatures.serve (--server, with the token in NEURON_SIGNATURES_TOKEN).

Reads:  every run folder directly under --runs_root (docs/run-format.md), with the results of all stages.
Writes: votes, edits, locks and notes of explanations, which people make on the page.

    streamlit run neuron_signatures/eda_streamlit.py -- --runs_root runs --run demo
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Python and Streamlit prepend the script's folder, where modules of the package would be found under wrong names.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != _HERE]
if not any(Path(p or ".").resolve() == _HERE.parent for p in sys.path):
    sys.path.append(str(_HERE.parent))

from neuron_signatures.cli.arguments import folder  # noqa: E402
from neuron_signatures.cli.command import command  # noqa: E402
from neuron_signatures.cli.parser import Parser  # noqa: E402
from neuron_signatures.dashboard.live.address import DEFAULT_URL, URL_VARIABLE  # noqa: E402
from neuron_signatures.runs.errors import UsageError  # noqa: E402

ROOT_VARIABLE = "NEURON_SIGNATURES_RUNS"
START = "streamlit run neuron_signatures/eda_streamlit.py"


def make_parser() -> Parser:
    parser = Parser(prog=f"{START} --", description=__doc__)
    parser.add_argument(
        "--runs_root", type=folder, metavar="DIR", default=folder(os.environ.get(ROOT_VARIABLE) or "runs"),
        help=f"folder with your runs; default: ${ROOT_VARIABLE}, else runs",
    )  # fmt: skip
    parser.add_argument("--run", metavar="NAME", help="the initial run; default: the newest")
    parser.add_argument(
        "--server", metavar="URL", default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"address of neuron_signatures.serve, for the view Live; default: ${URL_VARIABLE}, else {DEFAULT_URL}",
    )  # fmt: skip
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point without Streamlit: shows `--help` or how to start the page."""
    make_parser().parse_args(argv)
    raise UsageError("this page needs Streamlit", next_step=f"Start it with `{START}`")


def page(argv: Sequence[str]) -> None:
    """Draw the page; errors in the flags are shown on it."""
    import streamlit as st

    from neuron_signatures.dashboard.live.server_at import ServerAt
    from neuron_signatures.dashboard.shell.page import show

    st.set_option("client.showErrorDetails", "none")
    args = _flags(argv)
    if isinstance(args, Namespace):
        show(args.runs_root, args.run, ServerAt(args.server))
    else:
        st.code(args, language=None, wrap_lines=True)


def _flags(argv: Sequence[str]) -> Namespace | str:
    """The flags, or the text to show instead of the page."""
    if "--help" in argv or "-h" in argv:
        return make_parser().format_help()
    try:
        args: Namespace = make_parser().parse_args(argv)
    except UsageError as e:
        return e.line()
    return args


def _in_streamlit() -> bool:
    if "streamlit" not in sys.modules:
        return False
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    return get_script_run_ctx(suppress_warning=True) is not None


if __name__ == "__main__":
    if _in_streamlit():
        page(sys.argv[1:])
    else:
        sys.exit(main())
