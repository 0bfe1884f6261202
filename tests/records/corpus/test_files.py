"""Documents from files and folders, and what is wrong with them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import build
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.records.corpus.sources import formats
from neuron_signatures.records.corpus.sources.choose import corpus_source
from neuron_signatures.records.corpus.sources.cutting import cut_items, pieces
from neuron_signatures.records.corpus.sources.demo import DemoSource
from neuron_signatures.records.corpus.sources.files import FileSource
from neuron_signatures.records.corpus.sources.items import Item
from neuron_signatures.records.corpus.sources.local import LocalSource
from neuron_signatures.runs.errors import UsageError

TEXTS = ["one, two\nthree", 'a "quoted" text', "naïve 🙂", "  spaces  "]


def read(path: Path, *, column: str = "text", most: int = 1000) -> list[Item]:
    return list(FileSource(path, column, most).items())


def texts(items: Sequence[Item]) -> list[str]:
    return [i.text for i in items if not i.skipped]


def write(path: Path, raw: bytes | str) -> Path:
    data = raw.encode() if isinstance(raw, str) else raw
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def as_csv(delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([["id", "text"], *([i, t] for i, t in enumerate(TEXTS))])
    return out.getvalue()


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", "".join(json.dumps({"text": t, "n": 1}) + "\n" for t in TEXTS)),
        ("a.ndjson", "\ufeff" + "\n\n".join(json.dumps(t, ensure_ascii=False) for t in TEXTS)),
        ("a.json", json.dumps([{"text": t} for t in TEXTS], indent=2)),
        ("a.json", json.dumps(TEXTS)),
        ("lines.json", "".join(json.dumps({"text": t}) + "\n" for t in TEXTS)),
        ("a.csv", as_csv(",")),
        ("a.tsv", as_csv("\t")),
        ("bom.csv", "\ufeff" + as_csv(",")),
    ],
)
def test_rows_of_texts(tmp_path: Path, name: str, raw: str, packed: str) -> None:
    items = read(write(tmp_path / (name + packed), raw))
    assert texts(items) == TEXTS
    assert len({i.name for i in items}) == len(TEXTS) and all(i.name.startswith(name) for i in items)


def test_parquet(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"n": [1, 2, 3, 4, 5], "text": pa.array([*TEXTS, None], kind)}), tmp_path / "a.parquet",
                       row_group_size=2)  # fmt: skip
        items = read(tmp_path / "a.parquet")
        assert texts(items) == TEXTS and items[-1] == Item("a.parquet:5", skipped="no_text")


@pytest.mark.parametrize("name", ["a.txt", "README.md", "code.py", "unknown.ending", "none", "a.txt.gz"])
def test_a_text_file_is_one_document(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path / name, "\ufeffa\r\nb\n\nc")) == [Item(name, "a\r\nb\n\nc")]


def test_a_json_object_with_the_column_is_one_document(tmp_path: Path) -> None:
    assert texts(read(write(tmp_path / "a.json", json.dumps({"text": "one", "n": 2}, indent=1)))) == ["one"]


def test_a_long_text_is_cut_at_paragraphs_and_nothing_is_lost(tmp_path: Path) -> None:
    text = "".join(f"paragraph {i} has\ntwo lines\n\n" for i in range(100))
    items = read(write(tmp_path / "a.txt", text), most=200)
    assert "".join(texts(items)) == text and all(len(i.text) <= 200 for i in items)
    assert all(i.text.endswith("\n\n") for i in items)
    assert [i.name for i in items] == [f"a.txt ({n})" for n in range(1, len(items) + 1)]


@given(st.text("ab \n", max_size=80), st.integers(1, 20), st.integers(1, 30))
def test_pieces_are_the_text(text: str, limit: int, chunk: int) -> None:
    whole = list(pieces([text], limit))
    assert "".join(whole) == text and all(0 < len(p) <= limit for p in whole)
    assert list(pieces((text[i : i + chunk] for i in range(0, len(text), chunk)), limit)) == whole
    items = list(cut_items([Item("a", text), Item("b", "x")], limit))
    assert "".join(i.text for i in items) == text + "x" and items[-1] == Item("b", "x")


def test_a_line_of_100_mb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    with (tmp_path / "long.txt").open("w") as f:
        for _ in range(100):
            f.write("word " * 200_000)
    n = largest = 0
    for item in FileSource(tmp_path / "long.txt", "text", 1 << 20).items():
        n, largest = n + len(item.text), max(largest, len(item.text))
    assert (n, largest <= 1 << 20) == (100_000_000, True)


def test_a_folder_is_read_in_order_of_bytes(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a.txt", "B.txt", "é.txt", "a/b/c.jsonl.gz"):
        write(tmp_path / name, '{"text": "in lines"}' if "json" in name else name)
    assert [i.name for i in read(tmp_path)] == ["B.txt", "a.txt", "a/b/c.jsonl.gz:1", "a/z.txt", "b.txt", "é.txt"]


def test_a_folder_leaves_out_what_is_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, outside = tmp_path / "folder", write(tmp_path / "outside.txt", "not read")
    write(folder / "a.txt", "read")
    write(folder / ".hidden", "x")
    write(folder / ".git/config", "x")
    write(folder / "latin.txt", b"caf\xe9")
    write(folder / "config.json", '{"version": 3}')
    write(folder / "binary.bin", b"a\0b")
    write(folder / "broken.gz", "x").write_bytes(b"not gzip")
    (folder / "link.txt").symlink_to(outside)
    (folder / "inside.txt").symlink_to(folder / "a.txt")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    found = {i.name: i.skipped for i in read(folder)}
    assert found == {
        "a.txt": "", "inside.txt": "", ".hidden": "hidden", "link.txt": "link", "out": "link", "latin.txt": "not_utf8",
        "binary.bin": "not_utf8", "config.json": "unreadable", "broken.gz": "unreadable", "pipe": "unreadable",
    }  # fmt: skip
    meta = build(tmp_path / "run", FileSource(folder, "text", 100))
    assert meta.n_documents == 1
    assert meta.dropped == {"duplicate": 1, "hidden": 1, "link": 2, "not_utf8": 2, "unreadable": 3}
    assert "latin.txt: not UTF-8 (byte 3). Convert it" in caplog.text


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.txt", b"caf\xe9", r"a\.txt: not UTF-8 \(byte 3\)\. Convert it, for example with `iconv"),
        ("a.txt", b"x" * 300_000 + b"\xff", r"not UTF-8 \(byte 300000\)"),
        ("a.txt", b"\xef\xbb\xbfa\xe9", r"not UTF-8 \(byte 4\)"),
        ("a.txt", b"ab\xc3", r"not UTF-8 \(byte 2\)"),
        ("a.txt", b"a\0b", "has NUL characters"),
        ("a.csv", b"text\ncaf\xe9", r"not UTF-8 \(byte 8\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}', r"not UTF-8 \(line 2, byte 10 of it\)"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', r"a\.jsonl:2: not valid JSON"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"body": "a", "id": 1}',
            r"a\.jsonl:2: no column 'text'; it has body, id\. Name the",
        ),
        ("a.jsonl", b'{"text": ["a"]}', r"a\.jsonl:1: 'text' is list, not text"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: not valid JSON"),
        ("a.json", b'[{"text": "a"}, {"body": "b"}]', r"a\.json\[2\]: no column 'text'; it has body"),
        ("a.json", b'[{"text": "a"', r"a\.json: not valid JSON"),
        ("a.csv", b"id,body\n1,x\n", r"a\.csv: no column 'text'; it has id, body\. Name the text with --text_column"),
        ("a.csv", b"", "no column 'text'; it has no columns"),
        ("a.csv", b'text\n"open', r"a\.csv:2: not valid CSV"),
        ("a.parquet", b"PAR1 not parquet PAR1", r"a\.parquet: not a whole Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as e:
        read(write(tmp_path / name, raw))
    assert "\n" not in str(e.value) and e.value.exit_code == 2


def test_damaged_files(tmp_path: Path) -> None:
    whole = gzip.compress(("text " * 5000).encode())
    for raw in (b"not gzip", whole[:-20], whole[:40] + b"\xff\xff" + whole[42:]):
        (tmp_path / "a.txt.gz").write_bytes(raw)
        with pytest.raises(UsageError, match="not a whole gzip file"):
            read(tmp_path / "a.txt.gz")
    pq.write_table(pa.table({"text": ["a" * 100] * 50, "n": range(50)}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"no column 'body'; it has text, n"):
        read(tmp_path / "a.parquet", column="body")
    with pytest.raises(UsageError, match="column 'n' is int64, not text"):
        read(tmp_path / "a.parquet", column="n")
    raw = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(raw[:-30] + raw[-8:])
    with pytest.raises(UsageError, match="not a whole Parquet file"):
        read(tmp_path / "a.parquet")


def test_rows_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_ROW", 100)
    long = json.dumps({"text": "a" * 200})
    with pytest.raises(UsageError, match=r"a\.jsonl:2: a line of more than 100 bytes\. Split the document"):
        read(write(tmp_path / "a.jsonl", '{"text": "a"}\n' + long))
    with pytest.raises(UsageError, match=r"a JSON list of more than 100 bytes\. Write it as JSON lines"):
        read(write(tmp_path / "a.json", f"[{long}]"))
    with pytest.raises(UsageError, match=r"not valid CSV \(field larger than field limit"):
        read(write(tmp_path / "a.csv", "text\n" + "a" * 200))
    csv.field_size_limit(1 << 28)


def test_a_file_of_a_folder_that_breaks_later_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"text": "a"}\nbroken')
    with pytest.raises(UsageError, match=r"a.jsonl:2: not valid JSON"):
        read(tmp_path)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="the corpus has no text"):
        build(tmp_path / "run", FileSource(tmp_path / "empty", "text", 100))
    write(tmp_path / "empty" / "a.txt", b"\xff")
    with pytest.raises(UsageError, match=r"no text that can be used \(1 not utf8\)"):
        build(tmp_path / "run", FileSource(tmp_path / "empty", "text", 100))


def test_the_source_of_a_flag(tmp_path: Path) -> None:
    def source(corpus: str) -> object:
        return corpus_source(corpus, text_column="text", max_document=9, seed=4)

    assert source("demo") == DemoSource(4)
    assert source("local") == LocalSource()
    assert source(str(tmp_path)) == FileSource(tmp_path, "text", 9)
    for wrong in ("", str(tmp_path / "none"), "a\0b"):
        with pytest.raises(UsageError, match="there is no such file or folder"):
            source(wrong)
