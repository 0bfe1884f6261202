"""Who promotes a token, from the tables of write scores."""

from __future__ import annotations

import pytest
from record_runs import make_record_run
from search_runs import write_writes

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.search.hits import Scope
from neuron_signatures.runs.search.reader import Search

ROWS = {
    (0, 0): ([(" Austin", 1.0), ("Austin", 0.9)], [(" Texas", -2.0)]),
    (0, 3): ([("\n", 0.4)], [(" Austin", -3.0), ("austin", -1.0)]),
    (1, 1): ([("Austinite", 4.0), (" Texas", 0.5)], []),
    (1, 2): ([(" austin", 2.0), ("·Austin", 0.1)], [("\u4e2d", -0.2)]),
}


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> Search:
    run_dir = make_record_run(tmp_path_factory.mktemp("tokens") / "run", n_documents=5)
    write_writes(run_dir, ROWS)
    return Search.open(run_dir)


def shown(found) -> list[tuple]:
    return [(h.at.label, h.text, h.rank, round(h.score, 3)) for h in found.hits]


def test_exact_tokens_first_then_case_and_spaces_then_parts_each_by_z(search):
    expected = [
        ("L0N3-", " Austin", 1, 3.0), ("L0N0+", " Austin", 1, 1.0), ("L1N2+", " austin", 1, 2.0),
        ("L0N3-", "austin", 2, 1.0), ("L0N0+", "Austin", 2, 0.9), ("L1N2+", "·Austin", 2, 0.1),
        ("L1N1+", "Austinite", 1, 4.0),
    ]  # fmt: skip
    with_space = [row for row in expected if row[1] != "Austinite" and row[1][0] in " ·"]
    assert shown(search.by_token(" Austin"))[:2] == expected[:2]
    assert {row[1] for row in shown(search.by_token(" Austin"))} == {" Austin", " austin", "·Austin"}
    assert sorted(shown(search.by_token("·Austin"))) == sorted(with_space)
    found = shown(search.by_token("Austin"))
    assert found[0] == ("L0N0+", "Austin", 2, 0.9) and found[-1] == ("L1N1+", "Austinite", 1, 4.0)
    assert sorted(found) == sorted(expected)


def test_a_negative_pole_promotes_what_the_neuron_suppresses(search):
    assert shown(search.by_token('" Texas"')) == [("L0N0-", " Texas", 1, 2.0), ("L1N1+", " Texas", 2, 0.5)]
    suppressed = search.by_token('" Texas"', suppressed=True)
    assert shown(suppressed) == [("L0N0+", " Texas", 1, -2.0), ("L1N1-", " Texas", 2, -0.5)]
    assert [h.z for h in suppressed.hits] == [-4.0, -1.0]  # the standard deviation is 0.5


@pytest.mark.parametrize(("query", "tokens"), [
    ('"Austin"', {"Austin"}), ('"·Austin"', {" Austin", "·Austin"}), ('"austin"', {"austin"}), ("⏎", {"\n"}),
    ("\n", {"\n"}), ("中", {"中"}), ("Aus(", set()), ('"', set()), ("%", set()), ("[", set()), (".*", set()),
])  # fmt: skip
def test_which_tokens_a_query_means(search, query, tokens):
    assert {h.text for h in search.by_token(query).hits} == tokens


def test_layers_k_and_tokens_that_nobody_writes(search):
    assert [h.at.label for h in search.by_token("Austin", Scope(layers=(1,), k=1)).hits] == ["L1N2+"]
    assert len(search.by_token("a", Scope(k=3)).hits) == 3
    found = search.by_token("Denver")
    assert not found.hits and "writes a token with this text among the 2 of each side" in found.notes[0]
    with pytest.raises(UsageError, match="no token to look for"):
        search.by_token("")


def test_scores_without_a_spread_come_last_and_have_no_z(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    write_writes(run_dir, ROWS, std=0.0)
    hits = Search.open(run_dir).by_token('" Austin"').hits
    assert [(h.at.label, h.z) for h in hits] == [("L0N0+", None), ("L0N3-", None)]


def test_tables_that_were_made_again_are_read_again_and_damaged_ones_are_refused(tmp_path):
    run_dir = make_record_run(tmp_path / "run", n_documents=5)
    write_writes(run_dir, ROWS)
    search = Search.open(run_dir)
    assert len(search.by_token('" Texas"').hits) == 2
    write_writes(run_dir, {(1, 4): ([(" Texas", 1.0)], [])})
    assert shown(search.by_token('" Texas"')) == [("L1N4+", " Texas", 1, 1.0)]
    (run_dir / "analysis" / "write_scores.parquet").write_bytes(b"PAR1" + b"x" * 100 + b"PAR1")
    with pytest.raises(BadRunError, match=r"write_scores\.parquet"):
        Search.open(run_dir).by_token("Texas")
