"""An index from a stranger: other schemas, links, pipes, damaged and contradicting files are refused with one line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from search_runs import WordEmbedder, explained_run, index

from neuron_signatures.runs.arrays import ArrayFile, write_arrays
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import json_text, sha256_file
from neuron_signatures.runs.seal import SEAL, seal
from neuron_signatures.runs.search.hits import Scope
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.runs.verify import verify_run

VECTOR = WordEmbedder().vector("capital")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run_dir = explained_run(tmp_path_factory.mktemp("made") / "run")
    index(run_dir, WordEmbedder())
    return run_dir


@pytest.fixture
def run_dir(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def reseal(run_dir, **changed) -> None:
    """Make the record fit the files again, as a stranger can, with other facts."""
    path = run_dir / "search" / "search_meta.json"
    record = json.loads(path.read_text())
    record["facts"] |= changed
    for file in record["files"]:
        other = run_dir / "search" / file["name"]
        file |= {"bytes": other.stat().st_size, "sha256": sha256_file(other)}
    path.write_text(seal(json_text({k: v for k, v in record.items() if k != SEAL})))


def refused(run_dir, *parts: str) -> None:
    """Every search that needs the index fails with these texts, and so does `runs verify`."""
    with pytest.raises(BadRunError) as e:
        Search.open(run_dir).by_words("capital")
        Search.open(run_dir).by_meaning(VECTOR)
    assert all(part in e.value.line() for part in parts), e.value.line()
    assert any(all(part in fault for part in parts[:1]) for fault in verify_run(run_dir).faults)


def change(run_dir, statement: str) -> None:
    with sqlite3.connect(run_dir / "search" / "words.sqlite") as conn:
        conn.execute(statement)
    conn.close()
    reseal(run_dir)


def test_a_good_index_has_no_faults(run_dir):
    found = verify_run(run_dir)
    assert not found.faults and not any("search" in remark for remark in found.remarks)


@pytest.mark.parametrize("name", ["words.sqlite", "rows.safetensors", "vectors.safetensors"])
@pytest.mark.parametrize("way", ["flipped", "truncated", "missing"])
def test_a_file_that_is_not_the_one_of_the_record(run_dir, name, way):
    path = run_dir / "search" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink() if way == "missing" else path.write_bytes(raw[:-1] if way == "truncated" else raw)
    refused(run_dir, name)


@pytest.mark.parametrize("statement", [
    "CREATE VIEW text2 AS SELECT * FROM text", "CREATE TABLE more(x)",
    "CREATE TRIGGER t AFTER INSERT ON text BEGIN SELECT 1; END", "CREATE INDEX i ON text(content)",
    "ALTER TABLE text ADD COLUMN more", "DROP TABLE text",
])  # fmt: skip
def test_another_schema(run_dir, statement):
    change(run_dir, statement)
    refused(run_dir, "words.sqlite", "other tables")


@pytest.mark.parametrize("statement", ["PRAGMA application_id=7", "PRAGMA user_version=2"])
def test_another_kind_of_database(run_dir, statement):
    change(run_dir, statement)
    refused(run_dir, "words.sqlite", "not an index of words of this version")


def test_what_is_no_database_and_what_is_too_large(run_dir, monkeypatch):
    path = run_dir / "search" / "words.sqlite"
    raw = path.read_bytes()
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    reseal(run_dir)
    refused(run_dir, "words.sqlite")
    path.write_bytes(raw)
    reseal(run_dir)
    monkeypatch.setattr("neuron_signatures.runs.search.database.MAX_BYTES", 100)
    refused(run_dir, "words.sqlite", "larger than 100 bytes")


def test_texts_that_are_missing_or_no_texts(run_dir):
    change(run_dir, "UPDATE text SET content = x'00ff'")
    with pytest.raises(BadRunError, match=r"words\.sqlite: has no text"):
        Search.open(run_dir).by_words("capital")
    change(run_dir, "DELETE FROM text")
    with pytest.raises(BadRunError, match=r"words\.sqlite: has no text"):
        Search.open(run_dir).by_words("capital")


def test_ids_beyond_the_texts(run_dir):
    change(run_dir, "INSERT INTO words(rowid, body) VALUES (999999999, 'capital')")
    with pytest.raises(BadRunError, match="names a text that there is not"):
        Search.open(run_dir).by_words("capital")


def rewritten(run_dir, name: str, **changes: np.ndarray) -> None:
    path = run_dir / "search" / name
    with ArrayFile(path) as file:
        arrays = {key: file.read(key) for key in file.keys()}  # noqa: SIM118
    with path.open("wb") as f:
        write_arrays(f, {key.replace("_", "."): a for key, a in arrays.items()} | changes)
    reseal(run_dir)


@pytest.mark.parametrize(("column", "value", "message"), [
    ("explanation.text", 10**6, "names a text or pole"), ("explanation.text", -1, "names a text or pole"),
    ("exemplar.pole", 2, "names a text or pole"), ("explanation.set", 9, "names a set or explainer"),
    ("explanation.explainer", 9, "names a set or explainer"), ("exemplar.rank", 0, "rank or peak"),
    ("exemplar.start", 10**6, "rank or peak"), ("exemplar.value", np.nan, "not finite"),
    ("explanation.layer", -1, "layer or neuron"), ("exemplar.neuron", -1, "layer or neuron"),
    ("explanation.layer", 5, "not in the order of neurons"),
])  # fmt: skip
def test_rows_that_cannot_be(run_dir, column, value, message):
    with ArrayFile(run_dir / "search" / "rows.safetensors") as file:
        array = file.read(column)
    array[0] = value
    rewritten(run_dir, "rows.safetensors", **{column: array})
    refused(run_dir, "rows.safetensors", message)


def test_columns_of_another_type_or_length(run_dir):
    rewritten(run_dir, "rows.safetensors", **{"explanation.text": np.zeros(3, np.int64)})
    refused(run_dir, "rows.safetensors", "explanation.text is int64")
    reseal(run_dir, n_explanations=3)
    refused(run_dir, "rows.safetensors")


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: v * np.float16(2), "not of length 1"), (lambda v: v * np.float16(np.nan), "not of length 1"),
    (lambda v: v[:-1], "expected float16"), (lambda v: v.astype(np.float32), "expected float16"),
    (lambda v: v[:, :-1], "expected float16"),
])  # fmt: skip
def test_vectors_that_cannot_be(run_dir, change, message):
    with ArrayFile(run_dir / "search" / "vectors.safetensors") as file:
        vectors = file.read("vectors")
    rewritten(run_dir, "vectors.safetensors", vectors=np.ascontiguousarray(change(vectors)))
    refused(run_dir, "vectors.safetensors", message)


def test_facts_that_cannot_be(run_dir):
    reseal(run_dir, n_texts=-1)
    refused(run_dir, "search_meta.json", "n_texts")
    reseal(run_dir, n_texts=3, embedder={"name": "x" * 5000})
    refused(run_dir, "search_meta.json", "embedder")


@pytest.mark.parametrize("name", ["words.sqlite", "rows.safetensors", "vectors.safetensors", "search_meta.json"])
def test_links_out_of_the_run_and_pipes_are_not_opened(run_dir, tmp_path, name):
    path = run_dir / "search" / name
    shutil.move(path, tmp_path / name)
    path.symlink_to(tmp_path / name)
    refused(run_dir, name)
    path.unlink()
    os.mkfifo(path)
    refused(run_dir, name)


def test_words_of_a_foreign_index_do_not_reach_beyond_it(run_dir):
    """The index of another run is read as it is: its hits are those of its own texts, with the poles of its rows."""
    hits = Search.open(run_dir).by_words("capital", Scope(kinds=("explanation",))).hits
    assert {h.set for h in hits} == {"a"} and not (run_dir / "search" / "words.sqlite-journal").exists()
