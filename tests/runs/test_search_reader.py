"""Search by meaning and in exemplars against brute force, and what an index says when the run has changed."""

from __future__ import annotations

import numpy as np
import pytest
from explanation_logs import about, choice, edit_of, explanation, failed, write_log
from record_runs import make_record_run
from search_runs import TEXTS, WordEmbedder, entries, exemplars_of, explained_run, index, place

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.search.hits import Scope
from neuron_signatures.runs.search.reader import Search

EVERY = Scope(k=1000, per_text=1000)
EXPLANATIONS = Scope(kinds=("explanation",), k=1000, per_text=1000)
EXEMPLARS = Scope(kinds=("exemplar",), k=1000, per_text=1000)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = explained_run(tmp_path_factory.mktemp("search") / "run")
    index(run_dir, WordEmbedder(), exemplars=2)
    return run_dir


def labels(found) -> list[str]:
    return [hit.at.label for hit in found.hits]


def order(at: NeuronPole) -> tuple[int, int, str]:
    return at.layer, at.neuron, at.pole


def append(run_dir, *more: Entry) -> None:
    with (run_dir / "explanations" / "a.jsonl").open("a", encoding="utf-8") as f:
        f.writelines(f"{e.model_dump_json()}\n" for e in more)


def test_meaning_is_the_cosine_with_every_text_ties_in_order_of_neuron(run_dir):
    embedder, query = WordEmbedder(), "capital cities of the state"
    found = Search.open(run_dir).by_meaning(embedder.vector(query), EVERY)
    texts = [(NeuronPole(**place(at)), text) for at, text in TEXTS.items()]
    texts += [(at, text) for at, windows in exemplars_of(run_dir, 2).items() for text, _, _ in windows]
    assert sorted((h.at, h.text) for h in found.hits) == sorted(texts)
    for hit in found.hits:
        assert hit.score == pytest.approx(float(embedder.vector(query) @ embedder.vector(hit.text)), abs=1e-3)
    keys = [(-h.score, order(h.at)) for h in found.hits]
    assert keys == sorted(keys)


def test_the_length_of_a_query_vector_does_not_matter_but_its_size_does(run_dir):
    search, vector = Search.open(run_dir), WordEmbedder().vector("capital")
    assert labels(search.by_meaning(vector * 7)) == labels(search.by_meaning(vector))
    for bad in (vector[:-1], np.zeros(16, np.float32), np.full(16, np.nan, np.float32)):
        with pytest.raises(UsageError, match=r"has 15 numbers|zero or not finite"):
            search.by_meaning(bad)


def test_k_best_are_the_first_of_all_whatever_the_scope(run_dir):
    search, vector = Search.open(run_dir), WordEmbedder().vector("capital python code Austin")
    for kinds in (("explanation",), ("exemplar",), ("explanation", "exemplar")):
        for layers in (None, (1,), (0, 1)):
            every = search.by_meaning(vector, Scope(kinds, layers, 1000, 1000)).hits
            assert all(layers is None or h.at.layer in layers for h in every) and {h.kind for h in every} <= set(kinds)
            for k in (1, 3, 10):
                assert search.by_meaning(vector, Scope(kinds, layers, k, 1000)).hits == every[:k]
            n_of: dict[str, int] = {}
            limited = [h for h in every if n_of.update({h.text: n_of.get(h.text, 0) + 1}) or n_of[h.text] <= 2]
            assert list(search.by_meaning(vector, Scope(kinds, layers, 12, 2)).hits) == limited[:12]


def test_exemplars_are_the_strongest_windows_with_their_peaks(run_dir):
    expected = exemplars_of(run_dir, 2)
    words = [w for windows in expected.values() for text, _, _ in windows for w in text.split() if w.isalpha()]
    found = [h for word in dict.fromkeys(words) for h in Search.open(run_dir).by_words(word, EXEMPLARS).hits]
    got = {(h.at, h.rank, h.window, h.text, h.text[slice(*h.peak)]) for h in found}
    assert got == {
        (at, i, window, text, token)
        for at, windows in expected.items() for i, (text, token, window) in enumerate(windows, start=1)
        if any(w.isalpha() for w in text.split())
    }  # fmt: skip
    assert all((h.value > 0) == (h.at.pole == "+") for h in found)


def test_exemplars_that_peak_at_a_word_come_first(run_dir):
    search = Search.open(run_dir)
    for query, begins in (("Austin", "austin"), ("Aust*", "aust")):
        hits = search.by_words(query, EXEMPLARS).hits
        at_peak = [h.text[slice(*h.peak)].strip().casefold().startswith(begins) for h in hits]
        assert any(at_peak) and not all(at_peak) and at_peak == sorted(at_peak, reverse=True)
    both = search.by_words("Austin", EVERY).hits
    assert both[0].kind == "exemplar"


def test_only_current_explanations_that_say_something_are_found(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    old, new, second = explanation("first text"), explanation("second text"), explanation("other text", sample=1)
    chosen = explanation("chosen text", neuron=3, sample=1)
    write_log(
        run_dir, old, second, edit_of(old, "me", "edited text"), failed(neuron=4), explanation(" ", neuron=5),
        explanation("sample text", neuron=3), chosen, choice(chosen).model_copy(update={"neuron": 3}),
    )  # fmt: skip
    write_log(run_dir, new.model_copy(update={"set": "b"}), set_name="b")
    index(run_dir)
    found = Search.open(run_dir).by_words("text", EXPLANATIONS)
    assert [(h.text, h.set) for h in found.hits] == [("edited text", "a"), ("second text", "b"), ("chosen text", "a")]
    assert found.hits[1].id == new.id and found.hits[0].explainer == "human"


def test_what_was_appended_is_found_by_words_and_the_note_says_so(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    index(run_dir, WordEmbedder())
    search = Search.open(run_dir)
    assert not search.by_words("capital").notes and not search.contents().notes[1:]
    append(run_dir, explanation("fires on the capital of Peru", layer=0, neuron=7))
    found = search.by_words("Peru", EXPLANATIONS)
    assert labels(found) == ["L0N7+"] and "1 explanation added and 0 replaced" in found.notes[0]
    assert "search_neurons index --run_dir" in found.notes[0]
    by_meaning = search.by_meaning(WordEmbedder().vector("the capital of Peru"), EXPLANATIONS)
    assert "L0N7+" not in labels(by_meaning) and by_meaning.notes == found.notes
    assert any("explanations of a changed" in note for note in search.contents().notes)
    append(run_dir, explanation("and of Chile", layer=0, neuron=8))
    assert labels(search.by_words("Chile", EXPLANATIONS)) == ["L0N8+"]


def test_an_edited_explanation_is_not_shown_as_it_was(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    written = entries()
    write_log(run_dir, *written)
    index(run_dir, WordEmbedder())
    search = Search.open(run_dir)
    append(run_dir, edit_of(written[0], "me", "responds to rivers"), about(written[3], "me", "note", text="hm"))
    assert labels(search.by_words("cities", EXPLANATIONS)) == []
    assert labels(search.by_words("rivers", EXPLANATIONS)) == ["L0N0+"]
    assert labels(search.by_words("Python code", EXPLANATIONS))[:1] == ["L0N2+"]  # a note changes nothing
    found = search.by_meaning(WordEmbedder().vector(TEXTS["L0N0+"]), EXPLANATIONS)
    assert "L0N0+" not in labels(found) and "1 explanation added and 1 replaced" in found.notes[0]


@pytest.mark.parametrize("size", ["same", "smaller", "larger"])
def test_a_set_that_was_made_again_is_read_again(tmp_path, size):
    run_dir = explained_run(tmp_path / "run")
    write_log(run_dir, *(old := entries({"L0N0+": "an old text", "L0N1+": "a second old text"})))
    index(run_dir, WordEmbedder())
    search = Search.open(run_dir)
    assert len(search.by_words("old text").hits) == 2
    texts = {
        "same": {"L0N0+": "a new_ text", "L0N1+": "a second new text"}, "smaller": {"L0N0+": "a new text"},
        "larger": {"L0N0+": "a new text", "L0N1+": "second new text", "L0N2+": "third new text"},
    }[size]  # fmt: skip
    new = entries(texts)
    write_log(run_dir, *(e.model_copy(update={"id": o.id}) for e, o in zip(new, old, strict=False)), *new[2:])
    assert search.by_words("old", EXPLANATIONS).hits == ()
    assert labels(search.by_words("new text", EXPLANATIONS)) == list(texts)


def test_a_removed_set_is_no_longer_found_and_a_new_one_is(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    index(run_dir)
    search = Search.open(run_dir)
    (run_dir / "explanations" / "a.jsonl").unlink()
    assert search.by_words("capital", EXPLANATIONS).hits == ()
    write_log(run_dir, explanation("of capital letters", set="b"), set_name="b")
    found = search.by_words("capital", EXPLANATIONS)
    assert [(h.set, h.at.label) for h in found.hits] == [("b", "L1N2+")]


def test_exemplars_of_other_records_are_left_out(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    index(run_dir, WordEmbedder())
    search = Search.open(run_dir)
    assert search.by_words("Austin", EXEMPLARS).hits
    make_record_run(run_dir, n_documents=31)
    found = search.by_words("Austin", EXEMPLARS)
    assert not found.hits and "exemplars are left out" in found.notes[0]
    assert any("exemplars are left out" in note for note in search.contents().notes)
    index(run_dir)
    assert search.by_words("Austin", EXEMPLARS).hits  # the open search sees the new index
    with pytest.raises(UsageError, match="the index has no vectors to search by meaning"):
        search.by_meaning(WordEmbedder().vector("x"))


def test_without_an_index_the_contents_say_what_is_missing(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    search = Search.open(run_dir)
    contents = search.contents()
    assert (contents.has_index, contents.embedder, contents.has_tokens, contents.n_explanations) == (
        False,
        None,
        False,
        0,
    )
    assert "search_neurons index --run_dir" in contents.notes[0] and "--mode write_scores" in contents.notes[1]
    assert search.by_words("anything").hits == ()
    with pytest.raises(UsageError, match="there is no index to search by meaning"):
        search.by_meaning(np.ones(3, np.float32))
    with pytest.raises(UsageError, match="there are no write scores"):
        search.by_token(" Austin")


def test_the_contents_name_the_embedder(run_dir):
    contents = Search.open(run_dir).contents()
    assert contents.embedder is not None and contents.embedder._asdict() == {
        "name": "words", "fingerprint": "words:1", "revision": None, "dimensions": 16
    }  # fmt: skip
    assert contents.n_explanations == len(TEXTS) and contents.n_exemplars > 0 and contents.created_at_utc


def test_a_closed_search_opens_its_files_again(run_dir):
    search = Search.open(run_dir)
    before = search.by_words("capital")
    search.close()
    assert search.by_words("capital") == before
