"""The index pass: what is stored of a corpus, and limits."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from corpora import BOS, EOS, Texts, build, letters, new_run, window_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_signatures.models.tokens import encode_text, token_strings
from neuron_signatures.records.corpus.encode import encode_documents
from neuron_signatures.records.corpus.index import build_corpus
from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.demo import DemoSource
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.results import ResultsWriter


def some_texts(n: int, *, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdef .", k=rng.randint(1, 40))) for _ in range(n)]


def test_a_corpus_that_can_be_checked_by_eye(tmp_path: Path) -> None:
    texts = ["abcdefghijk", "mno", "", "  ", "abcdefghijk", "z", None, "\ud800"]
    meta = build(tmp_path, Texts(texts), sequence_length=4)
    with Corpus.open(tmp_path) as corpus:
        assert window_texts(corpus) == ["[a]bcd", "[e]fgh", "[i]jk", "[m]no"]
        assert corpus.window_document.tolist() == [0, 0, 0, 1]
        assert corpus.window_start.tolist() == [0, 4, 8, 11]
        first, second = corpus.document(0), corpus.document(1)
        assert (first.name, first.first_window, first.n_windows, first.first_token, first.n_tokens) == (
            "text 0", 0, 3, 0, 11)  # fmt: skip
        assert (second.name, second.first_window, second.first_token) == ("text 1", 3, 11)
        assert first.sha256 == hashlib.sha256(b"abcdefghijk").hexdigest()
        assert corpus.meta.n_counted == 3 + 3 + 2 + 2
    assert meta.dropped == {"duplicate": 1, "empty": 2, "no_text": 1, "surrogate": 1, "too_short": 1}
    assert meta.complete and meta.stopped is None and meta.n_documents == 2


def test_each_document_is_in_the_part_of_its_hash_and_no_text_is_in_two(tmp_path: Path) -> None:
    texts = some_texts(300)
    build(tmp_path, Texts(texts * 2), seed=7, bos_token_id=BOS, parts=(40, 30, 30))
    with Corpus.open(tmp_path) as corpus:
        rows = [corpus.document(d) for d in range(corpus.meta.n_documents)]
        assert [corpus.document_part[d] for d in range(len(rows))] == [
            part_index(bytes.fromhex(r.sha256), seed=7, percent=(40, 30, 30)) for r in rows
        ]
        assert len({r.sha256 for r in rows}) == len(rows) == len({t for t in texts if t.strip()})
        of_part = {p: {r.sha256 for r in rows if r.part == p} for p in PARTS}
        assert all(of_part.values()) and sum(map(len, of_part.values())) == len(rows)
        for w in range(corpus.n_windows):
            assert corpus.part_of(w) == rows[corpus.window_document[w]].part
        assert corpus.meta.documents_by_part == {p: len(of_part[p]) for p in PARTS}


@settings(max_examples=40)
@given(
    st.lists(st.text("abcd .", min_size=1, max_size=30), max_size=12).filter(lambda t: any(map(str.strip, t))),
    st.sampled_from([None, BOS]),
    st.integers(1, 6),
)  # fmt: skip
def test_windows_hold_the_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str], bos: int | None,
                               stride: int) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("run")
    s = {"sequence_length": 7, "bos_token_id": bos, "stride": stride, "skip_first": 0}
    build(folder, Texts(texts), **s)
    distinct = [t for t in dict.fromkeys(texts) if t.strip()]
    with Corpus.open(folder) as corpus:
        counted = ["" for _ in range(corpus.meta.n_documents)]
        for w, text in enumerate(window_texts(corpus)):
            counted[corpus.window_document[w]] += text.partition("]")[2]
        assert counted == distinct  # each token counts once, in order
        assert corpus.meta.n_counted == sum(map(len, distinct))


def test_max_tokens_cuts_the_last_document(tmp_path: Path) -> None:
    meta = build(tmp_path, Texts(["abcdefgh", "ijklmnop", "qrst"]), sequence_length=4, bos_token_id=BOS, max_tokens=13)
    assert (meta.n_tokens, meta.stopped, meta.complete, meta.max_tokens) == (13, "max_tokens", False, 13)
    with Corpus.open(tmp_path) as corpus:
        assert window_texts(corpus) == ["[]abc", "[]def", "[]gh", "[]ijk", "[]lm"]
        assert corpus.document(1).sha256 == hashlib.sha256(b"ijklmnop").hexdigest()  # of the whole text


def test_max_sequences_is_a_number_of_windows(tmp_path: Path) -> None:
    meta = build(tmp_path, Texts(["abcdefgh", "ijklmnop", "qrst"]), sequence_length=4, bos_token_id=BOS, max_windows=4)
    assert (meta.n_windows, meta.n_tokens, meta.stopped) == (4, 11, "max_sequences")


def test_counts_stop_at_the_limit(tmp_path: Path) -> None:
    """Items that were read ahead of the limit are not counted."""
    meta = build(tmp_path, Texts(["abcd", "abcd", "efgh", "", "x"]), sequence_length=4, max_tokens=8)
    assert meta.dropped == {"duplicate": 1}


def test_concatenate_joins_documents_of_a_part(tmp_path: Path) -> None:
    texts = [f"document {i}." for i in range(120)]
    s = {"sequence_length": 9, "bos_token_id": BOS, "concatenate": True, "eos_token_id": EOS}
    meta = build(tmp_path, Texts(texts), **s)
    with Corpus.open(tmp_path) as corpus:
        rows = [corpus.document(d) for d in range(meta.n_documents)]
        ids = corpus.tokens_between(0, meta.n_tokens)
        found: dict[str, list[str]] = {p: [] for p in PARTS}
        for row in rows:
            pack = ids[row.first_token : row.first_token + row.n_tokens]
            members = "".join(corpus.strings(pack)).split("<eos>")
            found[row.part] += members
            more = f" (+{len(members) - 1})" if len(members) > 1 else ""
            assert row.name == f"text {texts.index(members[0])}{more}"
            digests = [hashlib.sha256(m.encode()).digest() for m in members]
            if len(members) > 1:
                assert row.sha256 == hashlib.sha256(b"".join(digests)).hexdigest()
    seeds = {t: part_index(hashlib.sha256(t.encode()).digest(), seed=0, percent=(50, 20, 30)) for t in texts}
    assert found == {p: [t for t in texts if seeds[t] == i] for i, p in enumerate(PARTS)}
    full = [r.n_windows for r in rows if r.n_tokens >= 64]
    assert len(full) >= len(rows) - 3 and all(8 <= n <= 10 for n in full)


def test_a_few_documents_give_a_warning(tmp_path: Path) -> None:
    meta = build(tmp_path, Texts(["one long text " * 50]))
    assert [w[:10] for w in meta.warnings] == ["part expla", "part selec", "part repor"]


@pytest.mark.parametrize("texts", [[], ["", " "], [None]])
def test_an_empty_corpus_is_refused(tmp_path: Path, texts: list[str | None]) -> None:
    with pytest.raises(UsageError, match=r"^corpus texts: the corpus has no text"):
        build(tmp_path, Texts(texts))
    assert list((tmp_path / "records").iterdir()) == []


def test_a_new_corpus_makes_earlier_records_invalid(tmp_path: Path) -> None:
    new_run(tmp_path)
    for name in ("records_meta.json", "sample_meta.json"):
        (tmp_path / "records" / name).write_text("{}")
    build(tmp_path, Texts(["abcd"]))
    assert {p.name for p in (tmp_path / "records").iterdir()} == {
        "corpus.safetensors", "documents.parquet", "vocabulary.parquet", "corpus_meta.json",
    }  # fmt: skip


def test_source_sha256_is_over_the_stored_documents(tmp_path: Path) -> None:
    meta = build(tmp_path, Texts(["abcd", "x", "efgh"]))
    digests = b"".join(hashlib.sha256(t.encode()).digest() for t in ("abcd", "efgh"))
    assert meta.source_sha256 == hashlib.sha256(digests).hexdigest()


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "qwen2", "opt"])
def test_texts_are_encoded_as_everywhere_else(name: str) -> None:
    tokenizer = tiny_models.build_tokenizer(name)
    texts = ["The capital of Texas is Austin.", " a\n\n b\tc", "x", "naïve 🙂 text", "def f(x):\n    return x\n"]
    expected = [encode_text(tokenizer, t, prepend_bos=False) for t in texts]
    assert [ids.tolist() for ids in encode_documents(tokenizer, texts)] == expected
    assert all(ids.dtype == np.int32 for ids in encode_documents(tokenizer, texts))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_special_tokens_in_a_text_are_text(name: str) -> None:
    tokenizer = tiny_models.build_tokenizer(name)
    special = tokenizer.eos_token
    (ids,) = encode_documents(tokenizer, [f"a {special} b"])
    assert tokenizer.eos_token_id not in ids
    assert "".join(token_strings(tokenizer, ids.tolist())).strip() == f"a {special} b"
    assert tokenizer.eos_token_id in encode_text(tokenizer, f"a {special} b", prepend_bos=False)  # nothing is left set


def test_the_demo_world_is_a_corpus(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from neuron_signatures.demo import model_dir

    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    new_run(tmp_path)
    settings = CorpusSettings(sequence_length=32, bos_token_id=tokenizer.bos_token_id)
    meta = build_corpus(DemoSource(0, 500), settings, tokenizer, ResultsWriter(tmp_path, "records"))
    assert meta.n_documents > 400 and min(meta.documents_by_part.values()) > 50
    assert meta.source == {"kind": "demo", "seed": 0, "documents": 500}
    with Corpus.open(tmp_path) as corpus:
        assert "".join(corpus.strings(corpus.token_ids(0))) == "Solve 5 * y = 0. The solution is y = 0"


def test_the_letters_of_this_test_have_one_token_each() -> None:
    assert letters()("abc.").input_ids == [4, 5, 6, 31]
