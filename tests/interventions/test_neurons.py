"""Neurons by name, from lists of the run, and from files."""

from __future__ import annotations

import json

import pytest
from paths import DEMO_RUN

from neuron_signatures.interventions.choice.neurons import Request, choose_neurons
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table

STEM = "influence_seed_prompt_act_grad_next_token_pos8_tok704"


@pytest.fixture(scope="module")
def run():
    return Run.open(DEMO_RUN)


def labels(run, **request) -> list[str]:
    return [c.label for c in choose_neurons(run, Request(**request))]


def test_names_and_poles(run):
    assert labels(run, names="L3N508, L4N178-,L0N0+") == ["L3N508", "L4N178-", "L0N0+"]


def test_every_neuron_of_the_model(run):
    found = choose_neurons(run, Request(every=True))
    m = run.manifest
    assert len(found) == m.n_layers * m.d_mlp and found[m.d_mlp].label == "L1N0" and len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["peaks", "neurons_aggregated"])
def test_the_first_neurons_of_the_peaks(run, name):
    table = read_table(DEMO_RUN, "neurons_aggregated").sort_values("mean_peak_abs", ascending=False)
    wanted = [f"L{r.layer}N{r.neuron}" for r in table.head(4).itertuples()]
    assert [label.rstrip("+-") for label in labels(run, from_list=name, top_k=4)] == wanted


def test_the_first_neurons_of_a_ranking(run):
    table = read_table(DEMO_RUN, STEM).sort_values("abs_influence", ascending=False)
    wanted = [f"L{r.layer}N{r.neuron}" for r in table.head(7).itertuples()]
    assert [label.rstrip("+-") for label in labels(run, from_list=STEM, top_k=7)] == wanted
    assert len(labels(run, from_list=STEM)) == 10


def test_signatures_and_their_groups(run):
    found = labels(run, from_list="signatures", top_k=5)
    assert len(found) == 5
    group = read_json(DEMO_RUN, "groups.json")["groups"][0]
    members = labels(run, from_list=f"group:{group['name']}", top_k=3)
    assert members == group["members"][:3]


@pytest.mark.parametrize(
    "content",
    [
        ["L3N508", "L4N178-"],
        {"neurons": [{"layer": 3, "neuron": 508}, {"layer": 4, "neuron": 178, "pole": "-", "rank": 2}]},
        ["L3N508", {"layer": 4, "neuron": 178, "pole": "-"}],
    ],
)
def test_a_file_of_neurons(run, tmp_path, content):
    (tmp_path / "n.json").write_text(json.dumps(content))
    assert labels(run, json_file=tmp_path / "n.json") == ["L3N508", "L4N178-"]


def test_the_list_of_peaks_that_stage_2_writes_can_be_read(run):
    assert len(labels(run, json_file=DEMO_RUN / "analysis" / "top_neurons.json")) > 10


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "no neurons"),
        ({"names": "L1N1", "every": True}, "more than one choice"),
        ({"names": ""}, "names no neuron"),
        ({"names": "L1N1,"}, "names no neuron"),
        ({"names": "3.508"}, "'3.508' names no neuron"),
        ({"names": "L1N1x"}, "names no neuron"),
        ({"names": "L9N1"}, "there is no neuron L9N1: the model has layers 0..4 of 512 neurons"),
        ({"names": "L1N512"}, "there is no neuron L1N512"),
        ({"names": "L1N1,L2N2,L1N1-"}, "L1N1 is named twice"),
        ({"from_list": "nobody"}, "there is no such ranked list"),
        ({"from_list": "group:nobody"}, "there is no such group"),
    ],
)
def test_what_is_refused(run, request_, message):
    with pytest.raises(UsageError) as error:
        choose_neurons(run, Request(**request_))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "names no neurons"),
        ("{}", "is not a list of neurons"),
        ('"L1N1"', "is not a list of neurons"),
        ('[{"layer": 1}]', "names no neuron"),
        ("[3]", "'3' names no neuron"),
        ("[", "n.json"),
    ],
)
def test_files_that_are_refused(run, tmp_path, text, message):
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(UsageError) as error:
        choose_neurons(run, Request(json_file=tmp_path / "n.json"))
    assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no such file"):
        choose_neurons(run, Request(json_file=tmp_path / "none.json"))
