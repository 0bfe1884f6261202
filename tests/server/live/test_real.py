"""What docs/real-model.md says of L29N864, through the functions of the API, on the real model."""

from __future__ import annotations

import pytest
from live_cases import never
from paths import ROOT

from neuron_signatures.api.live import (
    ActivationsRequest,
    EditMessage,
    GenerateRequest,
    InfluenceRequest,
    InterveneRequest,
    TargetMessage,
)
from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.server.held import Held
from neuron_signatures.server.holder import model_facts
from neuron_signatures.server.live.activations import activations
from neuron_signatures.server.live.generate import generate
from neuron_signatures.server.live.influence import influence_of
from neuron_signatures.server.live.intervene import intervene

pytestmark = pytest.mark.real

FRANCE = "The capital of France is"
ON = TargetMessage(target=" Paris", foil=" London")
NEURON = (29, 864)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Held:
    root = tmp_path_factory.mktemp("runs")
    prompts = str(ROOT / "docs" / "probe_prompts_real.json")
    flags = ["--model_name", "smollm2", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert dump([*flags, "--prompts_json", prompts, "--out_dir", str(root / "real")]) == 0
    model = load_model(ModelSpec("smollm2", dtype="fp32", device="cpu"))
    return Held(model, model_facts(model), root, 512)


def test_its_influence_is_that_of_the_page(here):
    for metric, influence in (("dla", -1.468), ("act_grad", -1.413), ("relp", -1.468), ("ig", -1.525)):
        request = InfluenceRequest(text=FRANCE, on=ON, metric=metric, reference="run:real", top_k=1)
        found = influence_of(here, request, never)
        (first,) = found.rows
        assert (first.layer, first.neuron, first.pos) == (*NEURON, 5)
        assert first.influence == pytest.approx(influence, abs=2e-3)
        assert (first.act, first.reference) == (pytest.approx(8.333, abs=1e-3), pytest.approx(-0.153, abs=1e-3))
        assert found.on.value == pytest.approx(5.213, abs=1e-3)
        assert found.on.target.prob == pytest.approx(0.749, abs=1e-3)


def test_without_it_paris_is_more_likely_and_no_random_neuron_does_that(here):
    edit = EditMessage(layer=29, neurons=[864], kind="mean", reference_run="real", positions=[-1])
    for by, largest_std in (("edit", 0.06), ("delta", 0.3)):
        request = InterveneRequest(text=FRANCE, on=ON, edits=[edit], controls=200, controls_by=by)
        found = intervene(here, request, never)
        assert found.effect == pytest.approx(1.389, abs=2e-3)
        assert found.before.target.prob == pytest.approx(0.749, abs=1e-3)
        assert found.after.target.prob == pytest.approx(0.935, abs=1e-3)
        assert found.controls.exceeded == 0 and found.controls.p == 1 / 201
        assert abs(found.controls.mean) < 0.05 and found.controls.std < largest_std


def test_in_the_last_layer_only_the_last_position_counts(here):
    edit = EditMessage(layer=29, neurons=[864])
    everywhere = intervene(here, InterveneRequest(text=FRANCE, on=ON, edits=[edit]), never)
    last = edit.model_copy(update={"positions": [-1]})
    assert everywhere.effect == pytest.approx(
        intervene(here, InterveneRequest(text=FRANCE, on=ON, edits=[last]), never).effect, abs=1e-4
    )


def test_without_it_a_text_turns_french(here):
    edits = (EditMessage(layer=29, neurons=[864]),)
    request = GenerateRequest(text="Versailles is a palace near the", edits=edits, max_new_tokens=3)
    found = generate(here, request, never)
    assert found.edited.text.startswith(" French") and not found.plain.text.startswith(" French")


def test_z_finds_other_neurons_than_size(here):
    by_size = activations(here, ActivationsRequest(text=FRANCE, positions=[-1]), never).top
    by_z = activations(here, ActivationsRequest(text=FRANCE, positions=[-1], against_run="real"), never).top
    assert (by_z[0].layer, by_z[0].neuron) == (27, 1392) and by_z[0].z == pytest.approx(9.6, abs=0.1)
    assert not {(t.layer, t.neuron) for t in by_size} & {(t.layer, t.neuron) for t in by_z[:5]}
