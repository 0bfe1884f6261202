"""Parquet tables from strangers: the file's own sizes are checked before it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_folders import write_run

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.tables import MAX_CELL, MAX_VALUES, iter_arrow, read_arrow, read_table

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
PEAK = """
import sys
from pathlib import Path
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.tables import read_arrow
import pyarrow.parquet
def peak_kb():  # not ru_maxrss: a child inherits the peak of its parent
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak_kb()
try:
    read_arrow(Path(sys.argv[1]), "t", columns=["x", "name"])
except BadRunError as e:
    print(peak_kb() - before, e)
"""


def folder_of(tmp_path: Path, table: pa.Table, **options) -> Path:
    run_dir = write_run(tmp_path / "run")
    (run_dir / "analysis").mkdir()
    pq.write_table(table, run_dir / "analysis" / "t.parquet", **options)
    return run_dir


def refuses(run_dir: Path, needle: str, columns: list[str] | None = None) -> None:
    for read in (read_arrow, read_table, lambda *a, **k: list(iter_arrow(*a, columns=k["columns"] or ["x"]))):
        with pytest.raises(BadRunError, match=needle) as e:
            read(run_dir, "t", columns=columns)
        assert len(e.value.line()) <= 380 and "\n" not in e.value.line()


@NEEDS_PROC
def test_three_hundred_million_repeated_rows_are_refused_unread(tmp_path):
    run_dir = write_run(tmp_path / "run")
    (run_dir / "analysis").mkdir()
    part = pa.table({"x": pa.array([1.0] * 1_000_000), "name": pa.array([" a"] * 1_000_000)})
    with pq.ParquetWriter(run_dir / "analysis" / "t.parquet", part.schema) as writer:
        for _ in range(300):
            writer.write_table(part)
    argv = [sys.executable, "-c", PEAK, str(run_dir)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    grown_kb, _, line = done.stdout.strip().partition(" ")
    assert f"has 300000000 rows; {MAX_VALUES // 2} can be read" in line and done.stderr == ""
    assert int(grown_kb) < 20_000


@NEEDS_PROC
def test_a_long_text_in_every_row_is_refused_before_it_is_repeated(tmp_path):
    """One text of 10 MB in a million rows."""
    n = 1_000_000
    names = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 10_000_000]))
    run_dir = folder_of(
        tmp_path, pa.table({"x": pa.array([1.0] * n), "name": names}), dictionary_pagesize_limit=1 << 25
    )
    done = subprocess.run([sys.executable, "-c", PEAK, str(run_dir)], capture_output=True, text=True, check=True)
    grown_kb, _, line = done.stdout.strip().partition(" ")
    assert f"a text of 10000000 bytes; {MAX_CELL} can be read" in line
    assert int(grown_kb) < 120_000


def test_more_text_than_the_limit_is_refused(tmp_path):
    names = [f"{i:x>20000}" for i in range(4000)]
    refuses(folder_of(tmp_path, pa.table({"x": names})), "bytes of text")


@pytest.mark.parametrize(
    ("column", "options", "needle"),
    [
        (pa.array([[1, 2]] * 3), {}, "column x: has type list"),
        (pa.array([{"a": 1}] * 3), {}, "column x: has type struct"),
        (pa.array([b"abc"] * 3, pa.binary(3)), {}, "column x: has type FIXED_LEN_BYTE_ARRAY"),
        (pa.array(["a"] * 3), {"compression": "zstd"}, "unusual compression"),
        (pa.array(["a"] * 3), {"use_dictionary": False, "column_encoding": {"x": "DELTA_BYTE_ARRAY"}}, "encoding"),
    ],
)
def test_a_column_that_stage_2_does_not_write_is_refused(tmp_path, column, options, needle):
    refuses(folder_of(tmp_path, pa.table({"x": column}), **options), needle)


def test_a_footer_that_is_too_large_is_refused(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64())]).with_metadata({"k": "v" * (5 << 20)})
    refuses(folder_of(tmp_path, pa.table({"x": [1]}, schema=schema)), "footer")


def test_texts_are_read_once_for_all_rows(tmp_path):
    names = ["x" * 60_000, None, " b"] * 100_000
    table = read_arrow(folder_of(tmp_path, pa.table({"x": names})), "t", columns=["x"])
    assert pa.types.is_dictionary(table.column("x").type)
    assert table.nbytes < 3_000_000
    assert table.column("x")[2].as_py() == " b" and table.column("x")[1].as_py() is None


def test_large_strings_of_pandas_are_read(tmp_path):
    table = pa.table({"x": pa.array([" a", None], pa.large_string()), "n": [1, 2]})
    run_dir = folder_of(tmp_path, table)
    assert read_arrow(run_dir, "t").to_pydict() == {"x": [" a", None], "n": [1, 2]}
    assert read_table(run_dir, "t")["x"].isna().tolist() == [False, True]
    assert [b.num_rows for b in iter_arrow(run_dir, "t", columns=["x"])] == [2]
