"""`scripts/check_circuits.py`, on few prompts and few random sets."""

from __future__ import annotations

import json

import check_circuits
import pytest


@pytest.mark.slow
def test_every_bar_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    code = check_circuits.main(["--most", "2", "--n_random", "5", "--n_groups", "3", "--json", "--quiet"])
    found = json.loads(capsys.readouterr().out)
    barred = [f for f in found if f["bar"] is not None]
    assert len(barred) == 3 * 3 + 2 + 1 + 3 + 1 + 2
    assert code == (0 if all(f["passed"] for f in barred) else 1)
    sets = [f for f in barred if "faithfulness" in f["what"] and "random" not in f["what"]]
    assert len(sets) == 3 and all(f["value"] > 0.8 for f in sets)
