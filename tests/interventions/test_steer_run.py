"""`--mode steer` on a run: files, resuming, units, side effects, and the commonest mistakes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from dump_runs import flags
from safetensors.torch import save_file
from tiny_models import D_MODEL

from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.side_effects.neutral import Neutral, NeutralText
from neuron_signatures.interventions.steer import run as steer
from neuron_signatures.interventions.steer.directions import load_direction
from neuron_signatures.interventions.steer.forecast import steer_forecast
from neuron_signatures.interventions.steer.report import steer_lines, steer_summary
from neuron_signatures.interventions.steer.request import (
    FileDirection,
    Generation,
    NeuronDirection,
    Neurons,
    SteerControls,
    SteeredNeuron,
    SteerRequest,
)
from neuron_signatures.interventions.steer.response import Breaks
from neuron_signatures.interventions.steer.units import neuron_stds
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.runs.errors import StopSignal, UsageError
from neuron_signatures.runs.intervention_records import SteerRecord
from neuron_signatures.runs.result_records import read_record
from neuron_signatures.runs.results import list_interventions, partial_name
from neuron_signatures.runs.run import Run

SHORT = Neutral((NeutralText("the capital of"), NeutralText("in Dallas and Austin is")), "the capital of Dallas", "s")
NEURON = SteeredNeuron(1, 3, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("steer")
    assert dump(flags(folder)) == 0
    with Run.open(folder / "run") as run:
        yield run


@pytest.fixture(scope="module")
def request_(run: Run) -> SteerRequest:
    checked = check_prompt(run, "p2", ModelOverrides(device="cpu"))
    resolved = resolve_target(checked.model, checked.prompt.token_ids, TargetRequest("top1_logit"))
    return SteerRequest(
        checked,
        Session(checked.model, tuple(checked.prompt.token_ids)),
        resolved,
        (resolved.target.pos,),
        Neurons((NEURON,)),
        (-3.0, 3.0),
        Generation(max_new_tokens=3),
        SteerControls(n_random=110, neutral=SHORT, n_sets=3),
    )


def test_files(run: Run, request_: SteerRequest) -> None:
    out = steer.run_steer(run, request_)
    assert out.stem in list_interventions(run.path)
    record = read_record(run.path, f"{out.stem}.json", SteerRecord)
    assert [d.alpha for d in record.doses] == [-3.0, 0.0, 3.0]
    assert record.doses[1].null is None and record.doses[1].prediction.kl == 0
    assert record.doses[0].null is not None and record.doses[0].null.n >= 100
    assert record.prompt.prompt_id == "p2" and record.prompt.answer_id == request_.resolved.target.token_id
    assert record.side_effects is not None and record.side_effects.n_prompts == 2
    assert record.side_effects.random is not None and record.side_effects.random.n_sets == 3
    assert record.stage == "poc3_intervene" and record.mode == "steer" and record.verdict
    assert "2 neutral prompts are few" in " ".join(record.warnings)
    folder = run.path / "interventions"
    table = pd.read_parquet(folder / f"{out.stem}.parquet")
    assert table["alpha"].tolist() == [-3.0, 0.0, 3.0] and table["change"][1] == 0
    assert pd.isna(table["p"][1]) and table["p"][0] == record.doses[0].null.p
    assert (folder / f"{out.stem}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / f"{out.stem}.csv").exists()
    assert not list(folder.glob("*partial*"))
    text = "\n".join(steer_lines(run.path, out))
    assert out.stem in text and record.verdict in text and "position(s)" in text
    summary = steer_summary(run.path, out)
    assert json.loads(json.dumps(summary))["verdict"] == record.verdict


def test_a_direction_and_prompt_only_generation(run: Run, request_: SteerRequest) -> None:
    r = dataclasses.replace(
        request_, steered=NeuronDirection(NEURON), alphas=(0.5,), generation=Generation(3, at="prompt")
    )
    out = steer.run_steer(run, r)
    assert "direction-L1N3" in out.stem and "prompt-only" in out.stem
    assert [d.dose.alpha for d in out.measured.doses] == [0.0, 0.5]
    assert out.measured.what_is_random == "output directions of random neurons of the layer"


def test_names_have_what_differs_from_the_defaults(run: Run, request_: SteerRequest) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"alphas": (2.0,)},
        {"positions": (1,)},
        {"break_factor": 2.0},
        {"generation": Generation(4)},
        {"generation": Generation(3, temperature=0.7)},
        {"generation": Generation(3, temperature=0.7, seed=1)},
        {"generation": Generation(3, at="prompt")},
        {"controls": dataclasses.replace(request_.controls, n_random=111)},
        {"controls": dataclasses.replace(request_.controls, seed=1)},
        {"controls": dataclasses.replace(request_.controls, neutral=None)},
        {"controls": dataclasses.replace(request_.controls, n_sets=2)},
        {"steered": Neurons((NEURON,), "1")},
        {"steered": Neurons((NEURON._replace(sign=-1),))},
        {"steered": Neurons(tuple(SteeredNeuron(1, i, 1) for i in range(5)))},
        {"steered": Neurons(tuple(SteeredNeuron(1, i, 1) for i in range(6)))},
        {"steered": NeuronDirection(NEURON)},
    ]
    stems = [steer.stem_of(dataclasses.replace(request_, **c)) for c in changes]
    assert len(set(stems)) == len(stems)
    assert all("/" not in s and len(s) <= 200 for s in stems)


def test_a_stopped_command_goes_on(
    run: Run, request_: SteerRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    r = dataclasses.replace(request_, alphas=(-1.0, 1.0, 2.0))
    wanted = steer.run_steer(run, r).measured
    measured: list[float] = []
    original = steer.measure

    def stopping(*args: Any) -> Any:
        if len(measured) == 2:
            raise StopSignal
        measured.append(args[-1])
        return original(*args)

    monkeypatch.setattr(steer, "measure", stopping)
    with pytest.raises(StopSignal):
        steer.run_steer(run, r)
    stem = steer.stem_of(r)
    assert (run.path / "interventions" / partial_name(stem)).exists()
    again: list[float] = []
    monkeypatch.setattr(steer, "measure", lambda *args: (again.append(args[-1]), original(*args))[1])
    found = steer.run_steer(run, r).measured
    assert measured == [-1.0, 0.0] and again == [1.0, 2.0]
    assert found == wanted
    assert not (run.path / "interventions" / partial_name(stem)).exists()


def test_a_damaged_partial_file_is_ignored(run: Run, request_: SteerRequest) -> None:
    r = dataclasses.replace(request_, alphas=(4.0,))
    folder = run.path / "interventions"
    folder.mkdir(exist_ok=True)
    (folder / partial_name(steer.stem_of(r))).write_bytes(b"no archive")
    assert [d.dose.alpha for d in steer.run_steer(run, r).measured.doses] == [0.0, 4.0]


def test_the_unit_is_the_standard_deviation_over_the_run_without_first_positions(run: Run) -> None:
    values = np.concatenate([run.acts(p, layer=1)[1:, 3] for p in run.prompts]).astype(np.float64)
    assert neuron_stds(run, [NEURON]) == [pytest.approx(values.std())]


def test_a_neuron_that_does_not_vary_has_no_unit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "acts", lambda p, layer: np.zeros((p.seq_len, 5), np.float32))
    with pytest.raises(UsageError, match="does not vary"):
        neuron_stds(run, [NEURON])


def test_forecast(run: Run, request_: SteerRequest) -> None:
    line = steer_forecast(request_)
    assert line.startswith("forecast: 3 amounts: 3 forward passes of")
    assert "9 new tokens, at most 220 copies with random changes, 2 neutral prompts; at most about" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphas": ()}, "no amount but 0"),
        ({"alphas": (0.0,)}, "no amount but 0"),
        ({"alphas": (1e7,)}, "at most 1e6"),
        ({"steered": Neurons(())}, "no neurons"),
        ({"steered": Neurons((SteeredNeuron(3, 0, 1),))}, r"layers 0..2 of neurons 0..87"),
        ({"steered": Neurons((SteeredNeuron(0, 88, 1),))}, r"layers 0..2 of neurons 0..87"),
        ({"steered": Neurons((NEURON, NEURON))}, "given twice"),
        ({"steered": NeuronDirection(SteeredNeuron(9, 0, 1))}, r"layers 0..2"),
        ({"steered": FileDirection(Path("none.npy"), 3)}, r"3 is not in 0..2"),
        ({"steered": FileDirection(Path("none.npy"), 2)}, "no such file"),
        ({"generation": Generation(max_new_tokens=64)}, "do not fit into the context of 64"),
    ],
)
def test_mistakes(run: Run, request_: SteerRequest, changes: dict[str, Any], message: str) -> None:
    r = dataclasses.replace(request_, **changes)
    with pytest.raises(UsageError, match=message) as e:
        steer.run_steer(run, r)
    assert "\n" not in e.value.line()


def test_a_position_after_the_target_is_refused(run: Run, request_: SteerRequest) -> None:
    resolved = resolve_target(
        request_.checked.model, request_.checked.prompt.token_ids, TargetRequest("top1_logit", pos=1)
    )
    with pytest.raises(UsageError, match="position 2 is after the target position 1"):
        steer.run_steer(run, dataclasses.replace(request_, resolved=resolved, positions=(1, 2)))


def test_vectors_from_files(tmp_path: Path, run: Run, request_: SteerRequest) -> None:
    vector = torch.randn(D_MODEL)
    np.save(tmp_path / "v.npy", vector.numpy())
    save_file({"decoder": vector[None].bfloat16()}, tmp_path / "v.safetensors")
    assert load_direction(tmp_path / "v.npy", D_MODEL).equal(vector)
    assert load_direction(tmp_path / "v.safetensors", D_MODEL).equal(vector.bfloat16().float())
    r = dataclasses.replace(request_, steered=FileDirection(tmp_path / "v.npy", 2), alphas=(0.5,))
    out = steer.run_steer(run, r)
    assert "direction-v.npy-layer2-" in out.stem and out.measured.what_is_random == "random directions"


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda p: np.save(p, np.zeros(D_MODEL)), "zero or not finite"),
        (lambda p: np.save(p, np.full(D_MODEL, np.nan)), "zero or not finite"),
        (lambda p: np.save(p, np.ones(5)), r"has the shape \[5\], the model's d_model is 32"),
        (lambda p: np.save(p, np.ones((2, D_MODEL))), r"has the shape \[2, 32\]"),
        (lambda p: np.save(p, np.array(["a"] * D_MODEL)), "no array of real numbers"),
        (lambda p: np.save(p, np.array([{}] * D_MODEL)), "is not a vector"),
        (lambda p: p.write_bytes(b"junk"), "is not a vector"),
        (lambda p: p.write_bytes(b""), "is not a vector"),
    ],
)
def test_bad_vectors(tmp_path: Path, save: Any, message: str) -> None:
    path = tmp_path / "v.npy"
    save(path)
    with pytest.raises(UsageError, match=message):
        load_direction(path, D_MODEL)


def test_bad_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(b"junk")
    with pytest.raises(UsageError, match="is not a vector"):
        load_direction(path, D_MODEL)
    save_file({"a": torch.ones(D_MODEL), "b": torch.ones(D_MODEL)}, path)
    with pytest.raises(UsageError, match="2 tensors"):
        load_direction(path, D_MODEL)


def test_side_effects_are_measured_at_the_largest_amount_that_does_not_break_the_text() -> None:
    alphas = [-4.0, -2.0, 0.0, 2.0, 4.0]
    assert steer.side_effects_at(alphas, Breaks(None, None, ())) == 4.0
    assert steer.side_effects_at(alphas, Breaks(None, 4.0, (4.0,))) == -4.0
    assert steer.side_effects_at(alphas, Breaks(-4.0, 4.0, (-4.0, 4.0))) == 2.0
    assert steer.side_effects_at(alphas, Breaks(-2.0, 2.0, (-4.0, -2.0, 2.0, 4.0))) == 4.0
