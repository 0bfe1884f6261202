"""The evidence of a neuron in the records of a corpus, as values for both viewers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from record_runs import CAPITALS, DEAD, TOKENS, make_record_run

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.neuron_files import Histogram
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import read_descriptions
from neuron_signatures.views.neurons.poles import Poles
from neuron_signatures.views.records.about import records_facts, source_text
from neuron_signatures.views.records.commands import has_records, keep_command, records_command
from neuron_signatures.views.records.distribution import distribution
from neuron_signatures.views.records.evidence import evidence, sample_evidence
from neuron_signatures.views.records.often import Often, OftenOn, read_often
from neuron_signatures.views.records.passages import acts_of, counted, passages
from neuron_signatures.views.scale import Spread, records_limit

INF = np.inf


def window(tokens: list[str], pos: int | None, value: float | None, *, number: int = 0, **more) -> Window:
    fields = {"document": number, "document_name": f"d{number}", "part": "explain", "counted_from": 0, "acts": None}
    ids = tuple(range(len(tokens)))
    return Window(window=number, token_ids=ids, tokens=tuple(tokens), pos=pos, value=value, **{**fields, **more})


def numbered(n: int) -> list[str]:
    return [f" {i}" for i in range(n)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_record_run(tmp_path_factory.mktemp("records") / "run")


@pytest.fixture
def records(run: Path):
    with Records.open(run) as found:
        yield found


def test_the_short_form_is_twelve_tokens_on_each_side_of_the_peak():
    (p,) = passages([window(numbered(40), 20, 2.0)])
    assert p.short_text == "".join(numbered(40)[8:33]) and p.cut == (True, True) and p.peak_token == " 20"
    (p,) = passages([window(numbered(40), 3, 2.0)])
    assert (p.start, p.stop, p.cut) == (0, 16, (False, True))


def test_equal_short_texts_are_one_passage_up_to_white_space():
    a = window([" a", " b", "\n", " c"], 1, 3.0, number=1)
    b = window([" a", " b", "  ", " c"], 1, 2.0, number=2, part="report")
    other_peak = window([" a", " b", " ", " c"], 3, 1.0, number=3)
    found = passages([a, b, other_peak])
    assert [(p.n, p.window.window) for p in found] == [(2, 1), (1, 3)]
    assert found[0].parts == ("explain", "report") and found[0].value == 3.0
    assert [p.n for p in passages([a, b], fold=False)] == [1, 1]


def test_a_window_without_a_peak_is_shown_at_its_largest_counted_activation():
    acts = np.array([-9, 1, -3, 2], np.float32)
    (p,) = passages([window(numbered(4), None, None, acts=acts, counted_from=1)])
    assert (p.pos, p.value) == (2, -3.0) and counted(p.window).tolist() == [False, True, True, True]


def test_of_a_window_whose_row_is_not_stored_only_the_peak_is_known():
    known = acts_of(window(numbered(3), 1, 2.5))
    assert known[1] == 2.5 and np.isnan(known[[0, 2]]).all()


def test_a_distribution_has_shares_beyond_on_each_side_and_closed_ends():
    histogram = Histogram(np.array([-INF, -2, 0, 2, INF], np.float32), np.array([1, 3, 4, 2]), 10)
    found = distribution(histogram, -3.0, 6.0)
    assert [(b.low, b.high, b.n) for b in found.bins] == [(-3, -2, 1), (-2, 0, 3), (0, 2, 4), (2, 6, 2)]
    assert [round(b.beyond, 6) for b in found.bins] == [0.1, 0.4, 0.6, 0.2]
    assert [b.density for b in found.bins] == pytest.approx([0.1, 0.15, 0.2, 0.05])
    assert (found.n, found.n_positive, found.n_negative) == (10, 2, 1)


def test_empty_intervals_at_the_ends_are_left_out_and_an_empty_histogram_has_none():
    edges = np.array([-INF, -2, 0, 2, INF], np.float32)
    assert [b.n for b in distribution(Histogram(edges, np.array([0, 0, 5, 0]), 5), None, None).bins] == [5]
    assert distribution(Histogram(edges, np.zeros(4, np.int64), 0), None, None).bins == ()


def test_the_evidence_has_the_strongest_windows_of_both_poles(records):
    found = evidence(records, NeuronAt(0, 0))
    high = found.pole("+")
    assert found.state == "alive" and found.first_pole == "+" and high.has_sign
    assert high.value == found.largest == records.strongest(0, 0, "+", k=1)[0].value
    assert high.often.tokens[0] == high.strongest[0].peak_token == TOKENS[CAPITALS[0]]
    assert found.moments == records.moments(0, 0) and found.distribution.n == records.histogram(0, 0).n
    assert found.limit().value == max(found.largest, -found.smallest)


def test_parts_limit_the_windows_but_not_the_scale(records):
    every, one = (evidence(records, NeuronAt(0, 0), parts=p) for p in (PARTS, ("select",)))
    assert {w.part for p in one.pole("+").strongest for w in p.windows} == {"select"}
    assert one.limit() == every.limit() and one.moments.count < every.moments.count


def test_a_dead_neuron_has_no_windows(records):
    found = evidence(records, NeuronAt(0, DEAD))
    assert "is dead on this corpus" in found.state_text
    assert found.state == "dead" and not any(p.strongest for p in found.poles) and found.limit().value == 0


def test_windows_of_the_other_sign_are_not_those_of_a_pole_unless_the_neuron_is_always_on(records):
    code = evidence(records, NeuronAt(0, 2))  # about -2, else weak negative noise
    assert code.first_pole == "-" and not code.pole("+").strongest


def test_the_sample_has_intervals_random_windows_and_means_of_chosen_neurons_only(records):
    found = sample_evidence(records, NeuronAt(0, 1))
    assert found is not None and len(found.intervals["+"]) == 5 and len(found.random) == 10
    assert [t.mean for t in found.lookup] == sorted((t.mean for t in found.lookup), reverse=True)
    for row in found.intervals["+"]:
        assert all(row.low <= p.value <= row.high for p in row.passages)
    assert sample_evidence(records, NeuronAt(0, 2)) is None


def test_the_scale_of_the_records_is_the_largest_magnitude_or_distance_from_the_mean():
    assert records_limit(-3.0, 2.0).value == 3.0
    assert records_limit(-3.0, 2.0, Spread(10, 5, 5, 1.0, 2.0)).value == 2.0
    assert records_limit(-3.0, 2.0, Spread(10, 5, 5, 1.0, 0.0)).value == 3.0  # no spread


def test_what_the_records_are_of(records, run):
    facts = dict(records_facts(records))
    assert facts["corpus"] == "synthetic" and "explain " in facts["documents"] and "dead" in facts["neurons"]
    assert source_text({"kind": "files", "paths": ["a\x1b", "b", "c", "d"]}) == "files: paths a\\x1b b c and 1 more"
    assert has_records(run) and not has_records(run / "records")


def test_commands_name_the_run_and_the_neuron():
    assert records_command(Path("a b")) == (
        "python -m neuron_signatures.poc4_extract_records --run_dir 'a b' --corpus local"
    )
    assert keep_command(Path("r"), NeuronAt(3, 7)).endswith("--run_dir r --neurons L3N7")
    kept = [(4, 1), (0, 2)]
    assert keep_command(Path("r"), NeuronAt(3, 7), kept).endswith("--neurons L0N2,L3N7,L4N1")
    assert keep_command(Path("r"), NeuronAt(3, 7), kept * 50).endswith("--neurons L3N7")


def often_table(pos: list[str | None], share: list[float | None]) -> pa.Table:
    n = len(pos)
    return pa.table({
        "layer": [0] * n, "neuron": list(range(n)), "often_pos": pos, "often_neg": ['["low"]'] * n,
        "often_pos_share": pa.array(share, pa.float64()), "often_neg_share": [1.0] * n,
    })  # fmt: skip


def test_the_tokens_that_a_pole_is_most_often_strongest_on():
    often = Often(often_table([json.dumps([" Texas", "\n"]), None], [0.625, None]))
    assert often.of(Poles.one(NeuronAt(0, 0), negative=False)) == OftenOn((" Texas", "\n"), 0.625)
    assert often.of(Poles.one(NeuronAt(0, 0), negative=True)).tokens == ("low",)
    assert often.of(Poles.one(NeuronAt(0, 1), negative=False)) == OftenOn()
    assert often.of(Poles.one(NeuronAt(9, 0), negative=False)) == OftenOn()
    assert OftenOn((" Texas", "\n"), 0.625).text_with_share() == "·Texas 62 %, ⏎"


def test_often_tokens_are_searched_by_pole():
    often = Often(often_table(['[" Texas"]', '[" Ohio", " Texas"]', None], [1.0, 0.5, None]))
    poles = Poles(np.zeros(6, int), np.array([0, 1, 2, 0, 1, 7]), np.array([False] * 3 + [True] * 3))
    assert often.matching(poles, "texas").tolist() == [True, True, False, False, False, False]
    assert often.matching(poles, '"low"').tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize("text", ["[", '{"a": 1}', "[1]"])
def test_a_damaged_list_of_tokens_is_an_error(text):
    often = Often(often_table([text], [1.0]))
    with pytest.raises(BadRunError, match="not a list of texts"):
        often.of(Poles.one(NeuronAt(0, 0), negative=False))
    with pytest.raises(BadRunError, match="not a list of texts"):
        often.matching(Poles.one(NeuronAt(0, 0), negative=False), "a")


def test_half_a_surrogate_pair_is_searched_as_its_escape():
    often = Often(often_table([r'["\ud800"]', '[" a"]'], [1.0, 1.0]))
    assert often.matching(Poles(np.zeros(2, int), np.arange(2), np.zeros(2, bool)), "ud800").tolist() == [True, False]


def test_descriptions_know_the_records_if_there_are_any(run, tmp_path):
    found = read_descriptions(run)
    assert found.of(NeuronAt(0, 0), negative=False).often.tokens == (TOKENS[CAPITALS[0]],)
    assert read_often(tmp_path) is None
    (run_of_other := tmp_path / "other").mkdir()
    assert not any("records" in note for note in read_descriptions(run_of_other).notes)
