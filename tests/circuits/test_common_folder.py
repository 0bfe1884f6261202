"""The folder of a common circuit, written into a run and read again."""

from __future__ import annotations

import numpy as np
import pytest
from analysis_runs import make_run, random_acts
from template_circuits import D_MLP, N_LAYERS, VARYING, circuit

from neuron_signatures.circuits.common.members import Key
from neuron_signatures.circuits.common.tables import write_common
from neuron_signatures.runs.circuits.folder import COMMON, COMMON_NODES, MEMBERS, circuit_folder, list_circuits
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.verify_results import check_results


@pytest.fixture
def run(tmp_path):
    prompts = {f"p{i}": [f"t{j}" for j in range(5 + i % 2)] for i in range(4)}
    with make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=N_LAYERS, d_mlp=D_MLP)) as opened:
        yield opened


def test_a_common_circuit_is_written_and_read_again(run):
    circuits = [circuit(0), circuit(1), circuit(2), circuit(3, held_out=True)]
    found = write_common(run, "states", circuits)
    folder = circuit_folder("states")
    nodes, record = folder.read_table(run.path, COMMON_NODES), folder.read_record(run.path, COMMON)
    assert list_circuits(run.path, COMMON) == ["states"] and len(nodes) == len(found.nodes)
    assert record.facts["n_circuits"] == 3 and record.settings["circuits"] == ["c0", "c1", "c2", "c3"]
    assert folder.read_table(run.path, MEMBERS)["entity"].tolist() == [f"city {i}" for i in range(4)]
    assert check_results(run).faults == []


def test_activations_that_a_circuit_lacks_are_those_of_the_run(run):
    circuits = [circuit(0), circuit(1), circuit(2, strange=True)]  # the third lacks the common neurons
    found = write_common(run, "states", circuits)
    node = next(n for n in found.nodes if n.key == Key("neuron", 1, VARYING, "entity-1"))
    stored = run.acts("p2", layer=1, pos=3, neuron=VARYING)
    assert node.n_circuits == 2 and node.mean_activation == pytest.approx(np.mean([1.0, 2.0, stored]))


def test_nothing_is_written_for_circuits_of_no_template(run):
    with pytest.raises(UsageError, match="needs two prompts"):
        write_common(run, "states", [circuit(0)])
    assert not (run.path / "circuits").exists()
