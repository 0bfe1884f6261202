"""Search as both viewers show it: excerpts, counts, and what is missing."""

from __future__ import annotations

import pytest
from explorer import plain_run
from hostile import CONTROLS
from record_runs import make_record_run
from search_runs import explained_run, index, write_writes

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.search.hits import Hit, Scope
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.views.search_run.asked import WAYS, Asked, answer, count_text, time_text
from neuron_signatures.views.search_run.commands import missing
from neuron_signatures.views.search_run.excerpts import excerpt, plain, query_pattern
from neuron_signatures.views.search_run.rows import hit_row

LONG = "The state with the capital Richmond is Virginia. " + "Nothing to see here. " * 10 + "It is Austin, of course."
AT = NeuronPole(1, 3, "-")


def test_the_peak_is_in_brackets_and_the_words_are_marked():
    parts = excerpt("Texas is Austin.", (5, 8), query_pattern("austin"), 80)
    assert [tuple(p) for p in parts] == [("Texas", ""), ("[·is]", "peak"), (" ", ""), ("Austin", "word"), (".", "")]
    assert plain(parts) == "Texas[·is] Austin."


def test_a_word_at_the_peak_is_the_peak():
    assert plain(excerpt("is Austin.", (2, 9), query_pattern("austin"), 80)) == "is[·Austin]."


@pytest.mark.parametrize("peak", [None, (3, 3), (5, 2), (-1, 4), (0, 1000)])
def test_without_a_peak_in_the_text_nothing_is_in_brackets(peak):
    assert plain(excerpt("the capital", peak, None, 80)) == "the capital"


def test_of_a_long_text_the_word_and_the_peak_are_shown():
    at = LONG.index(" Austin")
    text = plain(excerpt(LONG, (at, at + 7), query_pattern("capital"), 60))
    assert "capital" in text and "[·Austin]" in text and text.count("…") >= 2 and len(text) < 75
    longer = LONG + " And more." * 20
    assert "And more" not in plain(excerpt(longer, (at, at + 7), query_pattern("capital"), 60)).split("Austin")[1][20:]
    assert plain(excerpt(longer, (at, at + 7), query_pattern("capital"), 60, more=500)).endswith("And more.")


def test_a_text_found_as_a_whole_shows_its_beginning_and_the_peak():
    at = LONG.index(" Austin")
    text = plain(excerpt(LONG, (at, at + 7), None, 60))
    assert text.startswith("The state") and "[·Austin]" in text
    assert plain(excerpt(LONG, None, None, 60)).startswith("The state with")


@pytest.mark.parametrize("text", [*CONTROLS, "a\nb\tc", "[/]", "<b>"])
@pytest.mark.parametrize("peak", [None, (0, 1)])
def test_excerpts_have_printable_characters_on_one_line(text, peak):
    assert all(part.text.isprintable() for part in excerpt(text * 30, peak, query_pattern("red"), 40, more=10))


@pytest.mark.parametrize("query", ["", "L3", "(", "c++ [a-z]+", '"a phrase" capital*', "\x00", "é" * 300])
def test_what_is_typed_is_no_regular_expression(query):
    assert plain(excerpt("see (a) c++ [a-z]+", None, query_pattern(query), 80)) == "see (a) c++ [a-z]+"


def test_rows_name_the_set_or_the_window():
    explanation = Hit(AT, "explanation", "x", 1.0, set="lookup", id="ab", explainer="lookup")
    assert (hit_row(explanation).label, hit_row(explanation).source) == ("L1N3-", "lookup")
    assert hit_row(explanation._replace(explainer="highlighted")).source == "lookup (highlighted)"
    assert hit_row(Hit(AT, "exemplar", "x", 1.0, rank=2)).source == "window 2"
    assert hit_row(Hit(AT, "token", " Austin", 1.0)).token() == "·Austin"


def test_counts_and_times():
    asked = Asked("x", k=10)
    assert [count_text(asked, n) for n in (0, 1, 9, 10)] == ["0 hits", "1 hit", "9 hits", "the first 10 hits"]
    assert [time_text(s) for s in (0.00123, 0.5, 2)] == ["1.23 ms", "500 ms", "2.00 s"]


def test_the_scope_of_what_is_asked():
    assert Asked("x", kinds=("exemplar",), layers=(1, 2), k=7).scope == Scope(("exemplar",), (1, 2), 7)
    assert Asked("x").scope.layers is None


def test_every_way_but_meaning_is_answered_from_the_run(tmp_path):
    run_dir = explained_run(tmp_path / "run")
    write_writes(run_dir, {(0, 1): ([(" Austin", 1.0)], [(" Texas", -2.0)])})
    index(run_dir)
    search = Search.open(run_dir)
    found = answer(search, Asked("capital cities", kinds=("explanation",)))
    assert found.hits[0].at.label == "L0N0+" and found.seconds >= 0
    assert [h.at.label for h in answer(search, Asked(" Austin", "promotes")).hits] == ["L0N1+"]
    assert [h.at.label for h in answer(search, Asked(" Austin", "suppresses")).hits] == ["L0N1-"]
    assert answer(search, Asked(" Austin", "promotes", layers=(1,))).hits == ()


def lacks(run_dir):
    return missing(Search.open(run_dir).contents(), run_dir)


def test_what_is_missing_names_the_command(tmp_path):
    plain_run(tmp_path / "run")
    assert set(lacks(tmp_path / "run")) == set(WAYS)
    assert "poc4_extract_records" in lacks(tmp_path / "run")["words"].command
    make_record_run(tmp_path / "records", n_documents=5)
    assert "search_neurons index --run_dir" in lacks(tmp_path / "records")["words"].command
    run_dir = explained_run(tmp_path / "explained")
    assert set(lacks(run_dir)) == {"meaning", "promotes", "suppresses"}, "explanations are read without an index"
    assert "no search index" in lacks(run_dir)["meaning"].what
    write_writes(run_dir, {(0, 1): ([(" Austin", 1.0)], [(" Texas", -2.0)])})
    index(run_dir)
    assert set(lacks(run_dir)) == {"meaning"} and "no vectors" in lacks(run_dir)["meaning"].line
