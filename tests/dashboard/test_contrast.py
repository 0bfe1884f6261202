"""A contrast among the ranked lists of the explorer."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from explorer import demo_root as copied
from explorer import open_page, shown

from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_contrasts

A = "concepts=capital@token: is"


def test_the_explorer_ranks_by_a_contrast(tmp_path: Path, monkeypatch):
    root = copied(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["--run_dir", str(root / "demo"), "--quiet", "--mode", "contrast", "--a", A]) == 0
    (stem,) = list_contrasts(root / "demo")
    page = open_page(root, monkeypatch, "--run", "demo", view="ranking", list=stem)
    assert not page.exception
    assert "contrast: concepts=capital@token: is vs other prompts@token: is" in shown(page)
    frame = next(d.value for d in page.dataframe if "neuron" in d.value)
    assert frame["test"].iloc[0].startswith("AUROC ") and frame["neuron"].iloc[0][-1] in "+-"
    assert "d (A - B)" in set(frame) and "token" not in frame
