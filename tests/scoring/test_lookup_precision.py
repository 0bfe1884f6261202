"""The measurement of look-up rules, on synthetic records whose neurons respond to known tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lookup_precision import main, shares
from record_runs import make_record_run


def test_precision_recall_and_f1_where_they_are_defined() -> None:
    active, named = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    assert shares(active, named) == (1, 0.5, pytest.approx(2 / 3))
    nothing = np.zeros(4, bool)
    assert np.isnan(shares(active, nothing).precision) and shares(active, nothing).f1 == 0
    assert np.isnan(shares(nothing, nothing).f1)


def test_rules_of_synthetic_neurons_beat_those_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_record_run(tmp_path / "run", n_documents=100, n_sample=150)
    assert main([str(run)]) == 0
    out = capsys.readouterr().out
    cells = [cell.strip() for cell in next(line for line in out.splitlines() if line.startswith("| all")).split("|")]
    precision, null = float(cells[5].split()[0]), float(cells[6])
    assert precision > 0.5 > 3 * null
    assert "best F1 on select" in out
    assert "nan" not in out
