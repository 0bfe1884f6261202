"""Addresses: they restore the selection, and hostile ones give the default."""

from __future__ import annotations

import pytest
from explorer import plain_run
from hypothesis import given
from hypothesis import strategies as st

from neuron_signatures.dashboard.shell.state import MANUAL, Selection, View, address, address_of, resolve
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.under_root import run_folder
from neuron_signatures.views.coords import NeuronAt


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    plain_run(folder / "one", lengths=(4, 3, 2))
    outside = tmp_path_factory.mktemp("elsewhere")
    plain_run(outside / "secret")
    (folder / "link").symlink_to(outside / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


@pytest.fixture(scope="module")
def run(root):
    return Run.open(root / "one")


def test_a_run_of_the_root_is_found(root):
    assert run_folder(root, "one") == root / "one"
    (root.parent / "alias").symlink_to(root)
    assert run_folder(root.parent / "alias", "one").is_dir()  # the root itself may be a link


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc",
        "/etc",
        "..\\x",
        "one/../..",
        "a\0b",
        "C:\\x",
        "link",
        "loop",
        "x" * 5000,
        "\ud800",
        "two",
    ],
)
def test_no_name_resolves_outside_the_root(root, name):
    with pytest.raises(UsageError) as e:
        run_folder(root, name)
    assert len(e.value.line()) < 400


@pytest.mark.parametrize(
    "selection",
    [
        Selection("one", 2, 1, 4, View.NEURON),
        Selection("one", 0, 0, 0, View.MAP, "neurons_aggregated", 7),
        Selection("one", 1, 1, 2, View.RANKING, "neurons_aggregated", None),
        Selection("one", 1, 1, 2, View.COMPARE, pins=(NeuronAt(1, 4), NeuronAt(0, 0))),
        Selection("one", 1, 1, 2, View.INTERVENTIONS, result="swap_a", pair=2),
        Selection("one", 1, 1, 2, View.CLUSTERS, clustering="weights-kmeans-8", cluster=0),
        Selection("one", 1, 1, 2, View.DRIFT, comparison="a_vs_b"),
        Selection("one", 1, 1, 2, View.CIRCUIT, circuit="made", nodes=("0_1_2", "group:texas")),
    ],
)
def test_an_address_restores_the_selection(run, selection):
    default = Selection("one", 0, 0, 3, View.OVERVIEW, "other", 1)
    found = resolve(address_of(address(selection, run)), run, default, ["neurons_aggregated", "other"])
    assert found == (selection, [])


def test_invalid_parts_give_the_default_and_a_message(run):
    default = Selection("one", 1, 1, 3, View.QUERY)
    wrong = {"prompt": "<script>", "layer": "99", "neuron": "1", "view": "../x"}
    found = resolve(address_of(wrong), run, default, [])
    assert found.selection == default
    assert len(found.problems) == 3
    assert resolve({"layer": "1", "neuron": "1", "list": "gone"}, run, default, []).selection == Selection(
        "one", 1, 1, 1, View.QUERY, MANUAL
    )
    for neuron in ("-1", "5", "1e3", "²", "9" * 40):
        assert resolve({"neuron": neuron}, run, default, []).problems, neuron
    in_list = {"layer": "1", "neuron": "1", "list": "some"}
    for row in ("abc", "-1", "1.5"):
        found = resolve({**in_list, "row": row}, run, default, ["some"])
        assert found.selection.row is None and "row" in found.problems[0], row


def test_pins_are_stored_neurons_without_duplicates_and_at_most_four(run):
    def pins(text: str):
        found = resolve({"pins": text}, run, Selection("one"), [])
        return [at.label for at in found.selection.pins], len(found.problems)

    assert pins("L1N4,L0N0,l1n4,1/3") == (["L1N4", "L0N0", "L1N3"], 0)
    assert pins("L1N0,L1N1,L1N2,L1N3,L1N4") == (["L1N0", "L1N1", "L1N2", "L1N3"], 1)
    assert pins("L1N5,L9N0,<script>,L1N4,") == (["L1N4"], 4)


def test_only_what_is_given_changes(run):
    default = Selection("one", 1, 1, 3, View.QUERY, "some", 0)
    assert resolve({"view": "map"}, run, default, ["some"]).selection == Selection("one", 1, 1, 3, View.MAP, "some", 0)
    assert resolve({"neuron": "2"}, run, default, ["some"]).selection == Selection("one", 1, 1, 2, View.QUERY)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "layer", "neuron", "view", "list", "row", "pins", "result", "pair"]),
        st.text(max_size=30),
    )
)
def test_no_address_breaks_the_page(run, params):
    found = resolve(address_of(params), run, Selection("one"), ["some"]).selection
    assert found.prompt < 3 and found.layer in run.layers and found.neuron < 5
    assert found.row is None or found.row >= 0
    assert len(found.pins) <= 4 and all(run.stores(*at) for at in found.pins)
