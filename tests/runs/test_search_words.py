"""What is a word, what a query means, and the scores of a search by words against the definition of BM25."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from explanation_logs import write_log
from hypothesis import given
from hypothesis import strategies as st
from record_runs import make_record_run
from search_runs import TEXTS, entries, explained_run, index, place

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.search.hits import Scope
from neuron_signatures.runs.search.query import parse
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.runs.search.words import word_at, word_key, words_of

EXPLANATIONS = Scope(kinds=("explanation",), k=1000)


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> Search:
    run_dir = explained_run(tmp_path_factory.mktemp("words") / "run")
    index(run_dir)
    return Search.open(run_dir)


def labels(found) -> list[str]:
    return [hit.at.label for hit in found.hits]


def test_words_are_letters_and_digits_and_each_chinese_character():
    assert words_of("fires on ·state·containing (p .38), snake_case, don't!") == [
        "fires", "on", "state", "containing", "p", "38", "snake", "case", "don", "t"
    ]  # fmt: skip
    assert words_of("首都abc東京 テスト กรุง") == [*"首都", "abc", *"東京", *"テスト", *"กร", "ง"]
    assert words_of("\ufb01ne caf\u0065\u0301 \uff26ull") == ["fine", "café", "Full"]  # composed forms
    assert words_of(" ·→ ") == []


def test_the_word_at_a_peak_is_the_whole_word_around_a_token():
    text = "the capital's name"
    assert word_at(text, 4, 7) == "capital" and word_at(text, 7, 11) == "capital"
    assert word_at(text, 3, 4) == "" and word_at(text, 11, 12) == "" and word_at(text, 14, 18) == "name"
    assert word_key("Café") == word_key("cafe") != word_key("cafes")


@pytest.mark.parametrize(("query", "expected"), [
    ("capital", {"L0N0+", "L0N1+", "L1N3+", "L1N5+"}),
    ("CAPITAL cities", {"L0N0+"}),
    ('"capital letters"', {"L0N1+", "L1N5+"}),
    ('"letters capital"', set()),
    ('"capital letters', {"L0N1+", "L1N5+"}),
    ("cit*", {"L0N0+"}),
    ("cafe", {"L0N1-"}), ("Naïve", {"L0N1-"}),
    ("首都", {"L1N3-"}), ("城市", {"L1N3-"}), ("都首", set()), ("市", {"L1N3-"}),
    ("capital L1", {"L1N3+", "L1N5+"}), ("capital l0n1", {"L0N1+"}), ("capital L0N1-", set()),
    ("capital L0N0 L1N5", {"L0N0+", "L1N5+"}),
    ("capital set:a", {"L0N0+", "L0N1+", "L1N3+", "L1N5+"}), ("capital set:b", set()), ('capital set:"A"', {
        "L0N0+", "L0N1+", "L1N3+", "L1N5+"}),
    ("def-and", {"L0N2+"}), ("such:as", {"L0N2+"}), ("capital*", {"L0N0+", "L0N1+", "L1N3+", "L1N5+"}),
])  # fmt: skip
def test_texts_with_every_word(search, query, expected):
    found = search.by_words(query, EXPLANATIONS)
    n_all = re.match(r"(\d+|no) hit", found.notes[-1]) if found.notes else None
    n = len(found.hits) if n_all is None else int(n_all[1].replace("no", "0"))
    assert set(labels(found)[:n]) == expected


@pytest.mark.parametrize("query", ['"', "*", '" "', "()", "·", "AND *", "NEAR(capital cities)", "body : x", "^a -b",
                                   "'", '"a" OR', "capital) OR (x", "{a b}:c", "a + b", "\\", "\x00a", "NOT",
                                   "a\ud800b"])  # fmt: skip
def test_nothing_typed_is_syntax_of_the_index(search, query):
    try:
        found = search.by_words(query, EXPLANATIONS)
    except UsageError as e:
        assert "no word" in e.what and not words_of(query)
    else:
        assert all(hit.kind == "explanation" for hit in found.hits)


@given(st.text(max_size=40))
def test_any_text_is_a_query_or_has_no_words(query):
    try:
        terms = parse(query).terms
    except UsageError:
        return
    assert terms and all(term.words and all(w.isalnum() for w in term.words) for term in terms)


def test_a_query_of_too_many_words_is_refused(search):
    with pytest.raises(UsageError, match="has 51 words; 50 can be looked for"):
        search.by_words("word " * 25 + "首" * 26)


def bm25(texts: list[str], query: list[str], text: str) -> float:
    """Okapi BM25 with k1 = 1.2 and b = 0.75; a word in more than half of the texts counts nearly nothing (1e-6)."""
    documents = [[w.lower() for w in words_of(t)] for t in texts]
    mean = sum(map(len, documents)) / len(documents)
    own, total = Counter(w.lower() for w in words_of(text)), 0.0
    for word in query:
        n = sum(word in d for d in documents)
        idf = math.log((len(documents) - n + 0.5) / (n + 0.5))
        f, size = own[word], sum(own.values())
        total += max(idf, 1e-6) * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * size / mean))
    return total


def test_scores_are_bm25_over_the_different_texts_and_ties_are_in_order_of_neuron(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    write_log(run_dir, *entries())
    index(run_dir, kinds=("explanation",))
    found = Search.open(run_dir).by_words("capital letters", EXPLANATIONS)
    texts = list(dict.fromkeys(TEXTS.values()))
    both, some = found.hits[:2], found.hits[2:]
    assert labels(found)[:2] == ["L0N1+", "L1N5+"] and "2 hits have every word" in found.notes[-1]
    for hit in both:
        assert hit.score == pytest.approx(bm25(texts, ["capital", "letters"], hit.text))
    assert [h.at.label for h in some] == ["L1N3+", "L0N0+"]  # three times in a short text
    for hit in some:
        assert hit.score == pytest.approx(bm25(texts, ["capital"], hit.text))


def test_the_same_without_an_index(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    write_log(run_dir, *entries())
    search = Search.open(run_dir)
    before = search.by_words("capital letters", EXPLANATIONS)
    assert any("there is no search index" in note for note in search.contents().notes)
    index(run_dir, kinds=("explanation",))
    after = Search.open(run_dir).by_words("capital letters", EXPLANATIONS)
    assert [h._replace(score=0.0) for h in before.hits] == [h._replace(score=0.0) for h in after.hits]
    assert [h.score for h in before.hits] == pytest.approx([h.score for h in after.hits])


def test_layers_and_the_number_of_hits_of_one_text(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    same = {f"L{layer}N{n}+": "the same text" for layer in (0, 1) for n in range(6)}
    write_log(run_dir, *entries(same | {"L0N8+": "a text of the same kind, longer than others"}))
    index(run_dir)
    search = Search.open(run_dir)
    scope = Scope(kinds=("explanation",), k=4, per_text=3)
    assert labels(search.by_words("same", scope)) == ["L0N0+", "L0N1+", "L0N2+", "L0N8+"]
    only = Scope(kinds=("explanation",), layers=(1,), k=100, per_text=100)
    assert labels(search.by_words("same", only)) == [f"L1N{n}+" for n in range(6)]
    assert labels(search.by_words("same", Scope(kinds=("explanation",), k=2))) == ["L0N0+", "L0N1+"]


def test_more_texts_than_are_scored_are_sampled_and_it_is_said(tmp_path, monkeypatch):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    write_log(run_dir, *entries({f"L0N{n}+": f"common word {n}" for n in range(12)}))
    index(run_dir, kinds=("explanation",))
    monkeypatch.setattr("neuron_signatures.runs.search.matching.MOST_SCORED", 5)
    found = Search.open(run_dir).by_words("common", EXPLANATIONS)
    assert len(found.hits) == 5 and "more than 5 texts have this word" in found.notes[-1]
    rare = Search.open(run_dir).by_words("common 7", EXPLANATIONS)
    assert labels(rare)[0] == "L0N7+" and len(rare.hits) == 1  # the common word alone is not looked for


def test_a_search_that_takes_too_long_ends_with_one_line(search, monkeypatch):
    monkeypatch.setattr("neuron_signatures.runs.search.database._STEPS", 1)
    ticks = iter(range(0, 10**9, 10))
    monkeypatch.setattr("neuron_signatures.runs.search.database.time.monotonic", lambda: float(next(ticks)))
    with pytest.raises(UsageError, match="took more than 5 s"):
        search.by_words("capital letters")


def test_places_are_parsed_as_they_are_shown():
    assert place("L1N3-") == {"layer": 1, "neuron": 3, "pole": "-"}
