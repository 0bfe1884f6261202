"""Effects of edits equal those of plain forward passes and of stage 3, and controls those computed here."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from attribution_cases import loaded
from intervention_cases import plain_logits
from intervention_runs import argv_of, demo_run
from live_cases import DALLAS, IDS, held, held_with_runs, never
from pydantic import ValidationError
from tiny_models import ARCHITECTURES

from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.api.live import EditMessage, InterveneAnswer, InterveneRequest, TargetMessage
from neuron_signatures.poc3_intervene import main as stage_3
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.server.live import controls, edits
from neuron_signatures.server.live.intervene import intervene
from neuron_signatures.server.live.predictions import target_answer

NEURONS = [3, 20, 41]
TARGET, FOIL, POS = 30, 7, 6
ON = TargetMessage(target_id=TARGET, foil_id=FOIL, pos=POS)
AUSTIN = TargetMessage(target=" Austin", foil=" Sacramento")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    demo_run(folder)
    return folder


def value_of(name: str, logits: torch.Tensor) -> float:
    """The difference of the two logits before the soft cap."""
    cap = getattr(loaded(name).hf.config, "final_logit_softcapping", None)
    logits = logits.double() if cap is None else cap * torch.atanh(logits.double() / cap)
    return float(logits[TARGET] - logits[FOIL])


def edited_logits(name: str, new, layer: int = 1, neurons=NEURONS, positions=(2, 6)) -> torch.Tensor:
    def edit(acts):
        for pos in positions:
            acts[:, pos, neurons] = new(acts[:, pos, neurons])
        return acts

    return plain_logits(loaded(name).hf, [IDS], {layer: edit})[0, POS]


def answered(name: str, *some: EditMessage, **fields) -> InterveneAnswer:
    return intervene(held(name), InterveneRequest(token_ids=IDS, edits=list(some), on=ON, **fields), never)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    ("fields", "new"),
    [
        ({"kind": "zero"}, lambda a: 0 * a),
        ({"kind": "set", "value": 2.5}, lambda a: 0 * a + 2.5),
        ({"kind": "add", "value": 4.0}, lambda a: a + 4),
        ({"kind": "scale", "value": -2.0}, lambda a: -2 * a),
        ({"kind": "flip"}, lambda a: -a),
    ],
    ids=["zero", "set", "add", "scale", "flip"],
)
def test_an_effect_is_that_of_the_edit_by_hand(name, fields, new):
    message = EditMessage(layer=1, neurons=NEURONS, positions=[2, -3], **fields)
    found = answered(name, message, top_k=384)
    clean, edited = plain_logits(loaded(name).hf, [IDS])[0, POS], edited_logits(name, new)
    assert found.before.value == pytest.approx(value_of(name, clean), abs=2e-3)
    assert found.after.value == pytest.approx(value_of(name, edited), abs=2e-3)
    assert found.effect == found.after.value - found.before.value
    assert found.effect == pytest.approx(value_of(name, edited) - value_of(name, clean), abs=2e-3)
    before, after = clean.double().log_softmax(-1), edited.double().log_softmax(-1)
    assert found.kl == pytest.approx(float((before.exp() * (before - after)).sum()), abs=1e-4)
    for top, log_probs in ((found.top_before, before), (found.top_after, after)):
        assert [c.log_prob for c in top] == pytest.approx(log_probs.sort(descending=True).values.tolist(), abs=1e-3)
    assert found.before.target.token_id == found.after.target.token_id == TARGET
    assert found.after.target.log_prob == pytest.approx(float(after[TARGET]), abs=1e-3)
    assert found.warnings == [] and found.controls is None


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "opt"])
def test_without_positions_every_one_is_edited_also_the_first(name):
    found = answered(name, EditMessage(layer=1, neurons=NEURONS, kind="scale", value=3.0))
    edited = edited_logits(name, lambda a: 3 * a, positions=range(9))
    assert found.after.value == pytest.approx(value_of(name, edited), abs=2e-3)
    assert "position 0 is edited" in found.warnings[0]


def test_later_layers_respond_and_edits_of_one_neuron_apply_in_their_order():
    """Adding to layer 0 changes what layer 1 scales; set then scale is not scale then set."""
    hf = loaded("llama").hf

    def first(acts):
        acts[:, 2, [5]] += 3
        return acts

    def second(acts):
        acts[:, 2, [8]] = 2 * (acts[:, 2, [8]] + 1)
        return acts

    wanted = plain_logits(hf, [IDS], {0: first, 1: second})[0, POS]
    some = [
        EditMessage(layer=1, neurons=[8], kind="add", value=1.0, positions=[2]),
        EditMessage(layer=0, neurons=[5], kind="add", value=3.0, positions=[2]),
        EditMessage(layer=1, neurons=[8], kind="scale", value=2.0, positions=[2]),
    ]
    assert answered("llama", *some).after.value == pytest.approx(value_of("llama", wanted), abs=1e-3)
    swapped = answered("llama", some[2], some[1], some[0])
    assert abs(swapped.effect - answered("llama", *some).effect) > 1e-4


def test_what_changes_nothing_has_no_effect_and_no_warning_is_lost():
    found = answered("gpt2", EditMessage(layer=1, neurons=NEURONS, kind="add", value=0.0, positions=[2]), controls=20)
    assert found.effect == 0 and found.kl == 0 and found.top_before == found.top_after
    assert found.controls.p == 1.0 and found.controls.exceeded == 20 and found.controls.std < 1e-6


def test_positions_after_the_target_have_no_effect_and_alone_are_refused():
    here = answered("gpt2", EditMessage(layer=1, neurons=[3], positions=[4], kind="add", value=2.0))
    both = answered("gpt2", EditMessage(layer=1, neurons=[3], positions=[4, 8], kind="add", value=2.0))
    assert both.effect == here.effect != 0
    with pytest.raises(UsageError, match=r"edits\[0\]: its positions come after the target position, 6"):
        answered("gpt2", EditMessage(layer=1, neurons=[3], positions=[8]))


def test_effects_are_those_of_stage_3(root, capsys):
    """Each neuron alone and the set, ablated to the mean of the run; and the null of one neuron with matched deltas."""
    flags = ["--prompt_id", "seed_prompt", "--neurons", "L3N508,L4N178", "--edit", "ablate", "--positions", "6,8"]
    target = ["--target_mode", "next_token", "--target_token", " Austin", "--foil_token", " Sacramento"]
    capsys.readouterr()
    assert stage_3(argv_of(root / "run", *flags, *target, "--json")) == 0
    record = json.loads(capsys.readouterr().out)
    mean = {"kind": "mean", "reference_run": "run", "positions": [6, 8]}
    one, other = EditMessage(layer=3, neurons=[508], **mean), EditMessage(layer=4, neurons=[178], **mean)
    here = held_with_runs(root)

    def effect(*some: EditMessage, **fields) -> InterveneAnswer:
        return intervene(here, InterveneRequest(text=DALLAS, edits=list(some), on=AUSTIN, **fields), never)

    frame = pd.read_parquet(root / "run" / "interventions" / f"{record['result']}.parquet")
    for message, (layer, neuron) in ((one, (3, 508)), (other, (4, 178))):
        row = frame[(frame.layer == layer) & (frame.neuron == neuron)].iloc[0]
        found = effect(message, controls=int(row.n_random), controls_by="delta")
        assert found.effect == pytest.approx(row.effect, abs=2e-5)
        assert found.kl == pytest.approx(row.kl, abs=1e-5)
        assert found.before.target.rank == row.rank_before and found.after.target.rank == row.rank_after
        z = (found.effect - found.controls.mean) / found.controls.std
        assert z == pytest.approx(row.z, rel=1e-3)
    both = effect(one, other)
    assert both.effect == pytest.approx(record["as_set"]["difference"] - record["clean"]["difference"], abs=1e-4)
    assert both.after.target.prob == pytest.approx(record["as_set"]["probability"], abs=1e-5)


def test_an_edit_to_the_mean_sets_the_mean_of_the_run(root):
    with Run.open(root / "run") as run:
        mean = np.concatenate([run.acts(p, layer=3)[1:] for p in run.prompts]).mean(0)
    here = held_with_runs(root)
    by_run = EditMessage(layer=3, neurons=[508, 12], kind="mean", reference_run="run", positions=[-1])
    by_hand = [EditMessage(layer=3, neurons=[n], kind="set", value=float(mean[n]), positions=[-1]) for n in (508, 12)]
    found, wanted = (intervene(here, InterveneRequest(text=DALLAS, edits=some), never) for some in ([by_run], by_hand))
    assert found.effect == pytest.approx(wanted.effect, abs=1e-5) and abs(found.effect) > 0.1


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "opt"])
def test_controls_are_the_same_edits_of_other_neurons(name):
    """Every other neuron of the layer alone has one of the effects; many draws have their mean and spread."""
    message = EditMessage(layer=1, neurons=[3], kind="add", value=5.0, positions=[2, 5])
    found = answered(name, message, controls=400, controls_by="edit", seed=1)
    clean = value_of(name, plain_logits(loaded(name).hf, [IDS])[0, POS])
    all_others = [n for n in range(loaded_width(name)) if n != 3]
    effects = np.array(
        [
            value_of(name, edited_logits(name, lambda a: a + 5, neurons=[n], positions=(2, 5))) - clean
            for n in all_others
        ]
    )
    null = found.controls
    assert null.n == 400 and null.by == "edit"
    assert null.mean == pytest.approx(effects.mean(), abs=4 * effects.std() / 20)
    assert null.std == pytest.approx(effects.std(), rel=0.2)
    assert np.abs(effects - null.largest).min() < 2e-3 and abs(null.largest) <= np.abs(effects).max() + 2e-3
    share = (np.abs(effects) >= abs(found.effect) - 1e-4).mean()
    assert null.p == (1 + null.exceeded) / 401
    assert null.exceeded / 400 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400) + 0.01)
    assert effects.min() - 2e-3 <= null.low <= null.mean <= null.high <= effects.max() + 2e-3


def loaded_width(name: str) -> int:
    return held(name).shape.d_mlp


def test_controls_are_computed_from_their_draws():
    """With two neurons in the layer that may be drawn, the null is known exactly."""
    here = held("llama")
    some = [n for n in range(88) if n not in (10, 11, 12)]
    norms = here.norms.clone()
    here.norms[1, some] = 0  # neurons without an output are not drawn
    try:
        message = EditMessage(layer=1, neurons=[10], kind="set", value=4.0, positions=[2])
        found = answered("llama", message, controls=60, controls_by="edit")
    finally:
        here.norms.copy_(norms)
    clean = value_of("llama", plain_logits(loaded("llama").hf, [IDS])[0, POS])
    own = [value_of("llama", edited_logits("llama", lambda a: 0 * a + 4, neurons=[n], positions=(2,))) - clean
           for n in (11, 12)]  # fmt: skip
    # the share of each follows from the mean
    share = (found.controls.mean - own[1]) / (own[0] - own[1])
    assert 0.3 < share < 0.7 and share * 60 == pytest.approx(round(share * 60), abs=0.1)
    assert found.controls.std == pytest.approx(abs(own[0] - own[1]) * np.sqrt(share * (1 - share)), rel=1e-2)
    assert found.controls.largest == pytest.approx(max(own, key=abs), abs=1e-3)
    exceeded = sum(n for n, e in zip((share * 60, 60 - share * 60), own, strict=True) if abs(e) >= abs(found.effect))
    assert found.controls.exceeded == round(exceeded)


def test_controls_repeat_with_a_seed():
    message = EditMessage(layer=1, neurons=NEURONS, positions=[2])
    for by in ("edit", "delta"):
        found = [answered("gpt2", message, controls=30, seed=s, controls_by=by).controls for s in (0, 0, 1)]
        assert found[0] == found[1] != found[2]


def test_a_mean_control_sets_each_neuron_to_its_own_mean(root):
    """A layer at its means: setting any of its neurons to its mean changes nothing, setting them to another's does."""
    here = held_with_runs(root)
    with Run.open(root / "run") as run:
        mean = np.concatenate([run.acts(p, layer=3)[1:] for p in run.prompts]).mean(0)
    hold = [EditMessage(layer=3, neurons=[n], kind="mean", reference_run="run", positions=[-1]) for n in range(3)]
    found = intervene(here, InterveneRequest(text=DALLAS, edits=hold, controls=3, controls_by="edit", on=AUSTIN), never)
    ids = [t.token_id for t in found.tokens]
    rng = np.random.default_rng([0, 1])
    others = np.setdiff1d(np.arange(len(mean)), [0, 1, 2])
    drawn = [rng.choice(others, size=3, replace=False) for _ in range(3)]
    effects = []
    for some in drawn:
        messages = [
            EditMessage(layer=3, neurons=[int(n)], kind="set", value=float(mean[n]), positions=[-1]) for n in some
        ]
        request = InterveneRequest(token_ids=ids, edits=messages, on=AUSTIN)
        effects.append(intervene(here, request, never).effect)
    assert found.controls.mean == pytest.approx(np.mean(effects), abs=1e-4)
    assert found.controls.largest == pytest.approx(max(effects, key=abs), abs=1e-4)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"layer": 3, "neurons": [0]}, r"edits\[0\]: layer 3 is not in 0..2"),
        ({"layer": 0, "neurons": [1, 88]}, r"edits\[0\]: neuron 88 is not in 0..87"),
        ({"layer": 0, "neurons": [1, 1]}, r"edits\[0\].neurons: a neuron is named twice"),
        ({"layer": 0, "neurons": [1], "positions": [9]}, r"edits\[0\].positions: 9 is not in a prompt of 9 tokens"),
        ({"layer": 0, "neurons": [1], "positions": [8, -1]}, r"edits\[0\].positions: a position is named twice"),
        ({"layer": 0, "neurons": [1], "kind": "mean"}, "a mean needs a reference_run"),
        ({"layer": 0, "neurons": [1], "reference_run": "x"}, "reference_run is not used by zero"),
        ({"layer": 0, "neurons": [1], "value": 2.0}, "value is not used by zero. Leave it out, or use set"),
        ({"layer": 0, "neurons": [1], "kind": "mean", "reference_run": "x"}, "reference_run: this server has no runs"),
    ],
)
def test_what_is_refused(message, what):
    with pytest.raises(UsageError, match=what):
        answered("gpt2", EditMessage(**message))


@pytest.mark.parametrize("kind", ["set", "add", "scale"])
def test_a_kind_with_a_value_needs_it(kind):
    with pytest.raises(ValidationError, match=f"{kind} needs a value"):
        EditMessage(layer=0, neurons=[1], kind=kind)
    assert EditMessage(layer=0, neurons=[1], kind=kind, value=0.0).value == 0


def test_controls_need_other_neurons():
    with pytest.raises(UsageError, match="controls: 45 neurons of layer 1 are edited, and 43 others could stand"):
        answered("gpt2", EditMessage(layer=1, neurons=list(range(45)), positions=[2]), controls=5)
    half = EditMessage(layer=1, neurons=list(range(44)), positions=[2])
    answered("gpt2", half, controls=5, controls_by="delta")
    with pytest.raises(UsageError, match="controls: only one other set of as many neurons exists"):
        answered("gpt2", half, controls=5, controls_by="edit")


def test_sizes_are_limited(monkeypatch):
    message = EditMessage(layer=1, neurons=NEURONS, positions=[2, 3])
    monkeypatch.setattr(controls, "MAX_DRAWN_CELLS", 6 * 9)
    answered("gpt2", message, controls=9)
    with pytest.raises(UsageError, match="10 draws of 6 edited activations are more than 54"):
        answered("gpt2", message, controls=10)
    monkeypatch.setattr(edits, "MAX_CELLS", 5)
    with pytest.raises(UsageError, match=r"6 activations \(neurons times positions\) are edited, more than 5"):
        answered("gpt2", message)


def test_a_prediction_that_is_not_finite_is_refused():
    target = Target(POS, TARGET, FOIL, "pre_cap_logit", "next_token")
    for wrong in (float("nan"), float("inf")):
        logits = torch.zeros(384)
        logits[5] = wrong
        with pytest.raises(UsageError, match=r"edits: the prediction is not finite with these edits\. Use smaller"):
            target_answer(held("gpt2"), target, logits)
