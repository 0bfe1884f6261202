"""The course of a model and of its neurons over the checkpoints of a comparison."""

from __future__ import annotations

import neuron_tables
import pytest
from analysis_runs import BOS, make_run, random_acts

from neuron_signatures.runs.comparisons.folder import CHECKPOINTS, COMPARISON, DRIFT, comparison_folder
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.views.comparisons import cloud
from neuron_signatures.views.comparisons.course import neuron_course, of_pair, read_checkpoints, read_cka
from neuron_signatures.views.coords import NeuronAt


@pytest.fixture
def run_dir(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    neuron_tables.comparison(tmp_path / "run", "ck", n=4)
    return tmp_path / "run"


def test_only_pairs_with_the_reference_are_in_the_course(run_dir):
    checkpoints = read_checkpoints(run_dir, "ck")
    assert [c.is_reference for c in checkpoints] == [False, False, False, True]
    points = [p for p in read_cka(run_dir, "ck", checkpoints) if p.layer == -1]
    assert [(p.checkpoint, round(p.debiased or 0, 3)) for p in points] == [(0, 0), (1, 0.333), (2, 0.667)]


def test_a_neuron_has_its_own_side_of_each_pair(run_dir):
    checkpoints = read_checkpoints(run_dir, "ck")
    points = neuron_course(run_dir, "ck", checkpoints, NeuronAt(1, 2))
    assert [p.checkpoint for p in points] == [0, 1, 2, 3]
    assert [p.std for p in points] == [1, 1, 1, 2]  # the reference is b of every pair
    assert points[3].mean == pytest.approx(0.3) and points[3].pearson is None
    assert points[0].cos_gate is None and points[0].cos_out == 0.25
    assert neuron_course(run_dir, "ck", checkpoints, NeuronAt(1, 99)) == []


def test_rows_of_a_pair_are_found_in_either_order(run_dir):
    parts = list(comparison_folder("ck").iter_table(run_dir, DRIFT))
    assert len(of_pair(parts, 0, 3)) == len(of_pair(parts, 3, 0)) == 10
    assert not len(of_pair(parts, 0, 2)) and not len(of_pair([], 0, 2))


def test_the_cloud_has_a_frame_per_checkpoint_without_undefined_points(run_dir):
    found = cloud.read_cloud(run_dir, "ck", read_checkpoints(run_dir, "ck"))
    assert [c.number for c, _ in found.frames] == [0, 1, 2] and found.n_shown == found.n_neurons == 10
    assert all(len(rows) == 8 for _, rows in found.frames)  # neuron 4 has no correlation
    assert found.y_title.startswith("cosine")


def test_without_weights_the_cloud_has_the_ratio_of_standard_deviations(run_dir):
    neuron_tables.comparison(run_dir, "plain", weights=False)
    found = cloud.read_cloud(run_dir, "plain", read_checkpoints(run_dir, "plain"))
    assert found.y_title.startswith("log2") and set(found.frames[0][1]["y"]) == {-1.0}


def test_of_many_neurons_the_same_sample_is_in_every_frame(run_dir, monkeypatch):
    monkeypatch.setattr(cloud, "MOST_NEURONS", 4)
    found = cloud.read_cloud(run_dir, "ck", read_checkpoints(run_dir, "ck"))
    assert (found.n_shown, found.n_neurons) == (4, 10)
    keys = [set(zip(rows["layer"], rows["neuron"], strict=True)) for _, rows in found.frames]
    assert keys[0] == keys[1] == keys[2]


def test_one_run_alone_has_no_frame(run_dir):
    neuron_tables.comparison(run_dir, "alone", n=1)
    checkpoints = read_checkpoints(run_dir, "alone")
    assert cloud.read_cloud(run_dir, "alone", checkpoints).frames == () and not read_cka(run_dir, "alone", checkpoints)


def test_a_comparison_without_reference_is_refused(run_dir):
    tables = {stem: [] for stem in comparison_folder("odd").tables}
    tables[CHECKPOINTS] = [{"checkpoint": 0, "label": "a", "reference": False}]
    neuron_tables.write(run_dir, comparison_folder("odd"), COMPARISON, tables, {})
    with pytest.raises(BadRunError, match="names no run as the reference"):
        read_checkpoints(run_dir, "odd")
