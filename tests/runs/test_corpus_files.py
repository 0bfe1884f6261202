"""The corpus files: reading, and refusing damaged ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import Texts, build

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_files import (
    CorpusArrays,
    DocumentRow,
    document_types,
    write_corpus_arrays,
    write_documents,
    write_vocabulary,
)
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.results import ResultsWriter

ROWS = [
    DocumentRow("first", "0" * 64, "explain", 0, 2, 0, 5),
    DocumentRow("\x1b[31m\ud800second", "1" * 64, "report", 2, 1, 5, 4),
]
ARRAYS = CorpusArrays(
    np.array([4, 5, 6, 7, 4, 9, 9, 9, 8], np.int32), np.array([0, 3, 5], np.int64), np.array([3, 2, 4], np.int32),
    np.array([1, 1, 1], np.int32), np.array([0, 0, 1], np.int32),
)  # fmt: skip
META: dict[str, Any] = {
    "stage": "poc4_extract_records", "created_at_utc": "2026-01-01T00:00:00+00:00", "seed": 0,
    "parts": {"explain": 50, "select": 20, "report": 30}, "sequence_length": 4, "stride": 3, "skip_first": 1,
    "concatenate": False, "prepend_bos": False, "bos_token_id": None, "tokenizer_sha256": None, "source": {},
    "source_sha256": "0" * 64, "n_documents": 2, "n_windows": 3, "n_tokens": 9, "n_counted": 6,
    "counted_by_part": {"explain": 3, "select": 0, "report": 3}, "documents_by_part": {}, "dropped": {},
    "complete": True, "stopped": None,
}  # fmt: skip


def write(folder: Path, rows: list[DocumentRow] = ROWS, *, meta: dict[str, Any] | None = None, **arrays: Any) -> Path:
    (folder / "records").mkdir(parents=True, exist_ok=True)
    writer = ResultsWriter(folder, "records")
    writer.begin("corpus_meta.json")
    write_documents(writer, rows)
    write_corpus_arrays(writer, ARRAYS._replace(**arrays))
    write_vocabulary(writer, [4, 5, 6, 7, 8, 9], list("abcdef"))
    writer.record("corpus_meta.json", CorpusMeta(**{**META, **(meta or {})}).fields())
    return folder


def test_reading(tmp_path: Path) -> None:
    with Corpus.open(write(tmp_path)) as corpus:
        assert corpus.n_windows == 3
        assert (
            corpus.document_part.tolist() == [0, 2] and corpus.part_of(1) == "explain" and corpus.part_of(2) == "report"
        )
        assert corpus.token_ids(1).tolist() == [7, 4] and corpus.token_ids(1).dtype == np.int32
        assert corpus.tokens_between(4, 6).tolist() == [4, 9]
        assert corpus.strings(corpus.token_ids(2)) == ["f", "f", "f", "e"]
        assert corpus.document(0) == ROWS[0]
        assert corpus.document(1).name == "\x1b[31m\\ud800second"
        with pytest.raises(BadRunError, match="token 3 of the corpus is not in the vocabulary"):
            corpus.strings([3])


def test_many_documents_are_read_by_groups(tmp_path: Path) -> None:
    build(tmp_path, Texts([f"document {i}" for i in range(20_000)]))
    with Corpus.open(tmp_path) as corpus:
        for d in (0, 8191, 8192, 19_999):
            assert corpus.document(d).name == f"text {d}"


def test_no_corpus_and_an_unfinished_one(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    with pytest.raises(UsageError, match=r"this has not been made yet.*poc4_extract_records"):
        Corpus.open(tmp_path)
    (write(tmp_path) / "records" / "corpus_meta.json").unlink()
    with pytest.raises(UsageError, match="this has not been made yet"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"window_start": np.array([0, 3, 4], np.int64)}, "leaves its document"),
        ({"window_start": np.array([0, 3, 6], np.int64)}, "leaves its document"),
        ({"window_start": np.array([0, 3, 1 << 62], np.int64)}, "leaves its document"),
        ({"window_length": np.array([3, 2, 0], np.int32)}, "leaves its document"),
        ({"window_length": np.array([5, 2, 4], np.int32)}, "too long or has no position"),
        ({"window_counted_from": np.array([1, 2, 1], np.int32)}, "too long or has no position"),
        ({"window_counted_from": np.array([1, -1, 1], np.int32)}, "too long or has no position"),
        ({"window_document": np.array([0, 1, 1], np.int32)}, "other windows than the corpus"),
        ({"window_document": np.array([0, 0, 7], np.int32)}, "other windows than the corpus"),
        ({"tokens": np.zeros(8, np.int32)}, r"tokens is int32\[8\], not int32\[9\]"),
    ],
)
def test_arrays_that_contradict_the_documents(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadRunError, match=message):
        Corpus.open(write(tmp_path, **arrays))


@pytest.mark.parametrize(
    "second",
    [
        {"first_window": 1},
        {"n_windows": 2},
        {"first_token": 4},
        {"n_tokens": 3},
        {"n_windows": 0},
        {"part": "test"},
    ],
)
def test_documents_that_contradict_the_corpus(tmp_path: Path, second: dict[str, Any]) -> None:
    with pytest.raises(BadRunError, match=r"documents.parquet: "):
        Corpus.open(write(tmp_path, [ROWS[0], ROWS[1]._replace(**second)]))


def test_numbers_that_contradict_the_record(tmp_path: Path) -> None:
    for changed in ({"n_documents": 3}, {"n_windows": 4}, {"n_tokens": 8}, {"sequence_length": 3}):
        with pytest.raises(BadRunError):
            Corpus.open(write(tmp_path, meta=changed))
    with pytest.raises(BadRunError, match=r"documents.parquet: has 1 rows, not 2"):
        Corpus.open(write(tmp_path, ROWS[:1]))


def _other_columns(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop(["part"]), path)


def _empty_cells(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "part", pa.array([None, "report"])), path)


def _other_types(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(3, "first_window", pa.array([0.0, 2.0])), path)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("harm", [_other_columns, _empty_cells, _other_types, _truncated])
def test_damaged_documents(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = write(tmp_path) / "records" / "documents.parquet"
    harm(path)
    _fit_size(tmp_path, path)
    with pytest.raises(BadRunError, match=r"documents.parquet: "):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("name", ["documents.parquet", "corpus.safetensors", "vocabulary.parquet", "corpus_meta.json"])
def test_a_changed_missing_or_truncated_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "whole")
    for harm in (_truncated, Path.unlink):
        run = tmp_path / harm.__name__
        shutil.copytree(tmp_path / "whole", run)
        harm(run / "records" / name)
        with pytest.raises((BadRunError, UsageError), match=name):
            Corpus.open(run)


def test_flipped_bytes_never_end_in_a_traceback(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole")
    for name in ("documents.parquet", "corpus.safetensors", "vocabulary.parquet"):
        raw = (whole / "records" / name).read_bytes()
        for at in range(0, len(raw), 7):
            changed = bytearray(raw)
            changed[at] ^= 0x55
            (whole / "records" / name).write_bytes(changed)
            try:
                with Corpus.open(whole) as corpus:
                    for d in range(2):
                        corpus.document(d)
                    for w in range(3):
                        corpus.strings(corpus.token_ids(w))
            except BadRunError as e:
                assert "\n" not in str(e)
        (whole / "records" / name).write_bytes(raw)


def _fit_size(run: Path, path: Path) -> None:
    """Make the record agree with the size of a file, as if it had been written so."""
    from neuron_signatures.runs.files import json_text
    from neuron_signatures.runs.seal import seal

    meta = run / "records" / "corpus_meta.json"
    record = json.loads(meta.read_text())
    record.pop("record_sha256")
    for f in record["files"]:
        f["bytes"] = path.stat().st_size if f["name"] == path.name else f["bytes"]
    meta.write_text(seal(json_text(record)))


def test_the_arrays_are_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = write(tmp_path) / "records" / "corpus.safetensors"
    assert {k: v.tolist() for k, v in load_file(path).items()} == {k: v.tolist() for k, v in ARRAYS._asdict().items()}
    with ArrayFile(path) as file:
        assert file.keys() == list(CorpusArrays._fields)
    assert list(document_types()) == list(DocumentRow._fields)


def test_reading_imports_no_torch() -> None:
    heavy = {"torch", "transformers", "pandas"}
    code = f"import sys, neuron_signatures.runs.records.corpus; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
