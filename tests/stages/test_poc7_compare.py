"""`poc7_compare_skills --mode compare` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skills_made import made, write_made

from neuron_signatures.poc7_compare_skills import main
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.meta import CollectMeta, ResultMeta, read_meta
from neuron_signatures.runs.tables import read_table_file

FAST = ["--mode", "compare", "--n_draws", "100", "--n_permutations", "100", "--n_halves", "5", "--n_controls", "2",
        "--quiet"]  # fmt: skip
TABLES = {
    names.SIMILARITIES: columns.SIMILARITIES, names.SEPARATION: columns.SEPARATION, names.SPECIFIC: columns.SPECIFIC,
    names.FREQUENCIES: columns.FREQUENCIES, names.PROBES: columns.PROBES,
}  # fmt: skip


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_made(tmp_path / "run", made(effect=8.0))


def test_all_tables_and_the_record(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FAST, "--run_dir", str(run_dir)]) == 0
    for stem, expected in TABLES.items():
        table = read_table_file(run_dir / "skills" / f"{stem}.parquet")
        assert list(table.columns) == list(expected) and len(table)
        numbers = table.select_dtypes(np.number).to_numpy(np.float64)
        assert not np.isinf(numbers).any()
    meta = read_meta(run_dir, "compare", ResultMeta)
    assert meta.collect_sha256 == read_meta(run_dir, "collect", CollectMeta).record_sha256
    assert {f.name for f in meta.files} == {f"{stem}.parquet" for stem in TABLES}
    assert meta.settings["min_share"] == 0.1 and meta.facts["n_texts"] == {"arts": 24, "biology": 24, "chess": 24}
    out = capsys.readouterr().out
    assert "separation" in out and "most specific units" in out and "number of tokens" in out


def test_the_summary_as_json(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FAST, "--run_dir", str(run_dir), "--json", "--no_probes", "--sources", "sae", "--layers", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["source"] for row in found["separation"]} == {"sae"}
    assert found["separation"][0]["p"] == pytest.approx(1 / 101)
    assert {row["label"].split()[-1] for row in found["specific_units"] if row["rank"] == 1} == {"L0F0", "L0F1", "L0F2"}


def test_a_forecast_writes_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(p.name for p in (run_dir / "skills").iterdir())
    assert main(["--mode", "compare", "--run_dir", str(run_dir), "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith("forecast: 6 comparisons")
    assert sorted(p.name for p in (run_dir / "skills").iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--classes", "arts,poetry"], "'poetry' has no texts; there are arts, biology, chess"),
        (["--classes", "arts"], "needs two classes"),
        (["--sources", "pca"], "no collected units are left"),
        (["--dose", "3"], "--dose"),
    ],
)
def test_mistakes_are_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main([*FAST, "--run_dir", str(run_dir), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_run_without_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FAST, "--run_dir", str(tmp_path)]) != 0
    assert "--mode collect" in capsys.readouterr().err
