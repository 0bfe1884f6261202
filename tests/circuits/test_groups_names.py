"""Names of neurons and groups: explanations first, then what they promote, then signatures."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from dump_runs import flags
from explanation_logs import edit_of, explanation, write_log
from tiny_models import tiny_model_dir

from neuron_signatures import poc1_dump_activations
from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.circuits.groups.group_names import GroupNamer
from neuron_signatures.circuits.groups.names import neuron_labels
from neuron_signatures.circuits.groups.of_run import suggest_for
from neuron_signatures.circuits.groups.promoted import WriteSide
from neuron_signatures.circuits.groups.signatures import compared_prompts, peak_acts
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.models.weights import output_weight, unembedding
from neuron_signatures.runs.circuits.graph import Graph, Node, Prompt
from neuron_signatures.runs.run import Run

TOKEN = 300


@pytest.fixture(scope="module", params=["gemma2", "gpt2"])
def arch(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, arch):
    folder = tmp_path_factory.mktemp("names")
    assert poc1_dump_activations.main(flags(folder, model=arch)) == 0
    return folder / "run"


@pytest.fixture
def run(run_dir, tmp_path):
    """A run whose folder a test may add to."""
    shutil.copytree(run_dir, tmp_path / "run")
    with Run.open(tmp_path / "run") as opened:
        yield opened


@pytest.fixture
def model(arch):
    """In it neuron 5 of layer 1 writes one token, and neurons 6 and 7 of layers 1 and 2 another."""
    loaded = load_model(ModelSpec(str(tiny_model_dir(arch)), dtype="fp32", device="cpu"), quiet=True)
    head = unembedding(loaded.hf).weight
    for layer, neuron, token in ((1, 5, TOKEN), (1, 6, TOKEN + 1), (2, 7, TOKEN + 1)):
        _set_row(loaded.hf, layer, neuron, head[token] - head.mean(0))
    return loaded


def _set_row(hf, layer: int, neuron: int, direction: torch.Tensor) -> None:
    projection = output_projections(hf)[layer]
    row = 3 * direction / direction.norm()
    with torch.no_grad():
        if isinstance(projection, torch.nn.Linear):
            projection.weight[:, neuron] = row
        else:
            projection.weight[neuron] = row
    assert torch.allclose(output_weight(projection)[neuron], row)


def test_promoted_tokens_are_those_of_the_write_scores(run, model):
    neurons = [(0, 3), (1, 5), (2, 7), (2, 80)]
    prompt = run.prompts[0]
    expected = write_scores(model, prompt.token_ids, prompt.seq_len - 1, neurons, top=4)
    up = WriteSide(run, model).of([(*n, 1) for n in neurons], top=4)
    down = WriteSide(run, model).of([(*n, -1) for n in neurons], top=4)
    assert [p.tokens for p in up] == [tuple(t.token for t in w.promotes) for w in expected]
    assert [p.tokens for p in down] == [tuple(t.token for t in w.suppresses) for w in expected]


def test_random_output_directions_are_rarely_clear(run, model):
    random = WriteSide(run, model).of([(0, i, 1) for i in range(60)])
    assert np.mean([p.is_clear for p in random]) < 0.25


def test_an_explanation_comes_first_and_the_pole_counts(run, model):
    first = explanation("fires on\n Austin", layer=0, neuron=3, pole="+")
    write_log(
        run.path, first, edit_of(first, "Ada", "on Texas"), explanation("other pole", layer=0, neuron=3, pole="-")
    )
    up, down, less = neuron_labels(run, model, [(0, 3, 1), (0, 3, -1), (0, 3, -1)], active=[1, -1, 1])
    assert (up.text, up.named_by) == ("on Texas", "explanations") and len(up.promotes) == 5
    assert down.text == "other pole" and less.text == "less: on Texas"
    assert down.promotes == less.promotes != up.promotes


def test_without_anything_the_tokens_are_marked_as_unsure(run, model):
    (label,) = neuron_labels(run, model, [(0, 3, 1)])
    assert label.named_by == "write_scores" and label.text.startswith(("promotes ", "perhaps promotes "))
    assert neuron_labels(run, model, []) == []


def test_a_damaged_set_is_left_out_with_a_warning(run, model, caplog):
    write_log(run.path, explanation("fine", layer=0, neuron=3), tail='{"id": 1}\n{"id": 2}\n')
    (label,) = neuron_labels(run, model, [(0, 3, 1)])
    assert label.named_by == "write_scores" and "a.jsonl" in caplog.text


def _node(layer: int, pos: int, neuron: int, activation: float = 2.0) -> Node:
    return Node(f"{layer}_{neuron}_{pos}", "neuron", layer, pos, neuron, activation=activation, reference=0.0)


def _graph(run: Run, *nodes: Node) -> Graph:
    prompt = run.prompts[0]
    n = prompt.seq_len
    own = Prompt(prompt.probe_id, prompt.text, tuple(prompt.token_ids), tuple(prompt.tokens), n - 1, 1, "x", 0.5)
    return Graph(own, 3, nodes, ())


def _namer(run: Run, model, graph: Graph) -> GroupNamer:
    neurons = [(n.layer, n.neuron) for n in graph.nodes]
    ids = [p.probe_id for p in compared_prompts(run)]
    return GroupNamer(run, model, graph, peaks=peak_acts(run, neurons), prompt_ids=ids)


def test_a_group_is_named_by_words_that_its_members_share_and_others_lack(run, model):
    nodes = [_node(0, 2, i) for i in range(6)]
    texts = [
        "fires on Texas cities",
        "Texas, the state",
        "about Texas",
        "fires on verbs",
        "fires on numbers",
        "fires on is",
    ]
    write_log(run.path, *(explanation(text, layer=0, neuron=i) for i, text in enumerate(texts)))
    assert _namer(run, model, _graph(run, *nodes))(nodes[:3]) == ("texas", "explanations")


def test_a_group_is_named_by_what_it_promotes_together(run, model):
    nodes = [_node(1, 2, 6), _node(2, 2, 7), _node(0, 2, 1), _node(0, 2, 2)]
    name, named_by = _namer(run, model, _graph(run, *nodes))(nodes[:2])
    (token,) = token_strings(model.tokenizer, [TOKEN + 1])
    assert named_by == "write_scores" and name.startswith("promotes ") and token.strip() in name.split(",")[0]


def test_peaks_are_the_largest_absolute_activations_without_the_first_position(run):
    peaks = peak_acts(run, [(2, 4), (0, 9), (2, 1)])
    prompts = compared_prompts(run)
    assert peaks.shape == (3, len(prompts))
    for j, prompt in enumerate(prompts):
        acts = run.acts(prompt)[:, 1:]
        for i, (layer, neuron) in enumerate([(2, 4), (0, 9), (2, 1)]):
            assert abs(peaks[i, j]) == pytest.approx(np.abs(acts[layer, :, neuron]).max())
            assert peaks[i, j] in acts[layer, :, neuron]
    assert peak_acts(run, [(9, 0)]) is None


def test_groups_of_a_run_are_suggested_with_names(run, model):
    nodes = [_node(layer, 2, i) for layer in (0, 1) for i in range(4)]
    found = suggest_for(run, model, _graph(run, *nodes), n_draws=10)
    assert found.with_signatures and found.n_null == 10 and found.facts()["n_neurons"] == 8
