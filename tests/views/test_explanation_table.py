"""The table of all explanations: search, filters, order."""

from __future__ import annotations

from pathlib import Path

import pytest
from explanation_runs import OTHER, Log, write_explanations, write_log

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.explanations.table import SORTS, ExplanationTable, Wanted, ordered, parse


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ExplanationTable:
    return RunExplanations.read(write_explanations(tmp_path_factory.mktemp("explained"))).table


def found(table: ExplanationTable, query: str) -> list[str]:
    return [r.text for r in table.rows(parse(query))]


def test_all_words_must_be_in_the_text_in_any_case(table):
    assert found(table, "CAPITAL austin") == [
        "state capitals, most of all Austin", "the name of a state capital such as Austin",
        "state capitals: Austin, Boston, Denver",
    ]  # fmt: skip
    assert found(table, '"most of all"') == ["state capitals, most of all Austin"]
    assert found(table, "austin zebra") == []


def test_escaped_text_is_found_as_it_is_shown_and_as_it_is_stored(table):
    assert len(found(table, "\\x1b[31mred")) == 1 and len(table.rows(Wanted(words=("\x1b[31mred",)))) == 1


def test_filters_by_set_status_explainer_and_author(table):
    assert found(table, "set:lookup") == [
        "the token · Austin, or New York", "any token after a comma", "the token the"
    ]  # fmt: skip
    assert found(table, "status:refused") == [""] and len(found(table, "status:REFUSED status:timed_out")) == 2
    assert found(table, "explainer:contrastive") == ["words of a programming language, not of English"]
    assert len(found(table, "author:human")) == 2
    assert found(table, f'author:"{OTHER}"') == ["state capitals in the answer to a question about a state"]
    assert found(table, "author:model set:contrastive") == found(table, "set:contrastive")


def test_filters_by_state(table):
    assert found(table, "is:locked") == ["the token · Austin, or New York"]
    assert found(table, "is:chosen") == ["state capitals, most of all Austin"]
    assert len(found(table, "is:edited")) == 2 and len(found(table, "is:failed")) == 2
    assert found(table, "is:noted") == ["state capitals in the answer to a question about a state"]
    assert found(table, "is:current is:human") == ["state capitals in the answer to a question about a state"]


def test_filters_by_place_and_score(table):
    assert {v.at for v in table.rows(parse("L0N0"))} == {NeuronAt(0, 0)}
    assert {v.label for v in table.rows(parse("L0N0-"))} == {"L0N0-"}
    assert len(found(table, "L1")) == 2
    assert found(table, ">0.62") == ["state capitals, most of all Austin"] and len(found(table, ">=0.62")) == 2
    assert len(found(table, "<0.7 >0.3")) == 2, "an explanation without a score fits no bound"


@pytest.mark.parametrize("query", ["set:", "is:", "is:good", 'author:" "'])
def test_a_filter_that_means_nothing_is_refused(query):
    with pytest.raises(UsageError):
        parse(query)


def test_order_by_score_has_undefined_ones_last_in_both_directions(table):
    scores = [v.score for v in table.rows(Wanted(sort="score"))]
    assert scores[:3] == [0.71, 0.62, 0.31] and set(scores[3:]) == {None}
    scores = [v.score for v in table.rows(Wanted(sort="score", reverse=True))]
    assert scores[:3] == [0.31, 0.62, 0.71] and set(scores[3:]) == {None}


@pytest.mark.parametrize("by", SORTS)
def test_every_order_has_all_rows_and_another_direction(table, by):
    forward, back = (ordered(table.every, by, reverse=r) for r in (False, True))
    assert {r.id for r in forward} == {r.id for r in table.every} == {r.id for r in back}
    assert forward != back


def test_order_by_neuron_votes_and_time(table):
    assert [v.label for v in table.rows()][:5] == ["L0N0+"] * 5 and table.rows()[0].is_current
    assert table.rows(Wanted(sort="votes"))[0].n_up == 2
    times = [v.created_at_utc for v in table.rows(Wanted(sort="made"))]
    assert times == sorted(times, reverse=True)


def test_choices_of_the_filters_are_those_that_occur(table):
    assert table.sets == ["contrastive", "highlighted", "lookup"]
    assert table.statuses == ["ok", "refused", "timed_out"]
    assert table.explainers == ["contrastive", "highlighted", "human", "lookup"]
    assert OTHER in table.authors and table.neurons()[0] == NeuronAt(0, 0)


def test_a_set_named_like_a_path_is_not_read(tmp_path: Path):
    log = Log("a")
    log.explain("L0N0+", "one")
    write_log(tmp_path, log)
    (tmp_path / "explanations" / "-x.jsonl").write_text("{}\n")
    assert RunExplanations.read(tmp_path).table.sets == ["a"]
