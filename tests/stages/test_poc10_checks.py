"""`poc10_trace_circuit --checks` end to end: sets, swaps between prompts of a template, resuming, and refusals."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from attribution_cases import loaded

from neuron_signatures import poc1_dump_activations
from neuron_signatures.circuits import parts
from neuron_signatures.circuits import tested as tests_of_circuits
from neuron_signatures.circuits.checks import stage
from neuron_signatures.circuits.checks.copies import copies_within
from neuron_signatures.poc10_trace_circuit import main
from neuron_signatures.runs.circuits.folder import CHECKS, COMMON_CHECKS, CURVES, SWAPS, circuit_folder, list_circuits
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify_results import check_results

ANSWERS = {"Dallas": " Austin", "Oakland": " Sacramento", "Miami": " Tallahassee"}
HELD_OUT = "Miami"
FAST = ("--max_nodes", "12", "--candidates", "40", "--device", "cpu", "--quiet", "--checks", "--n_random", "100")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three prompts of one template, whose circuits are traced and tested; one is held out."""
    folder = tmp_path_factory.mktemp("checks")
    texts = [{"id": city, "text": f"The capital of the state containing {city} is"} for city in ANSWERS]
    (folder / "prompts.json").write_text(json.dumps(texts))
    flags = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    where = ["--prompts_json", str(folder / "prompts.json"), "--out_dir", str(folder / "run")]
    assert poc1_dump_activations.main([*flags, *where]) == 0
    cases = [
        {"prompt_id": city, "target_token": token, "entity": city, "held_out": city == HELD_OUT}
        for city, token in ANSWERS.items()
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    with pytest.MonkeyPatch.context() as patch:  # the null of the groups is tested elsewhere
        patch.setattr(parts, "suggest_for", functools.partial(parts.suggest_for, n_draws=5))
        assert checked(folder) == 0
    return folder


def checked(folder: Path, *flags: str) -> int:
    given = ["--run_dir", str(folder / "run"), "--cases", str(folder / "cases.json"), "--reference", "template"]
    return main([*given, *FAST, *flags])


def test_curves_have_random_sets_at_one_size(made: Path) -> None:
    names = list_circuits(made / "run", CHECKS)
    assert len(names) == 3
    table = circuit_folder(names[0]).read_table(made / "run", CURVES).set_index("k")
    assert list(table.index) == [10, 20, 50, 100, 200, 500, 1000]
    assert table["n_random"].tolist() == [0, 0, 0, 0, 100, 0, 0]
    assert table["random_mean"].notna().tolist() == [False] * 4 + [True] + [False] * 2
    of_200 = table.loc[200]
    assert of_200["faithfulness"] > 0.5 > of_200["random_high"]
    assert of_200["complement"] < 0.5 < of_200["complement_random_low"]
    assert of_200["p"] == of_200["complement_p"] == pytest.approx(1 / 101)
    assert (table["n_units"] == 5 * 9 * 512).all()


def test_every_group_is_swapped_from_the_prompts_with_another_answer(made: Path) -> None:
    name = next(n for n in list_circuits(made / "run", CHECKS) if n.startswith("Dallas"))
    table = circuit_folder(name).read_table(made / "run", SWAPS)
    assert set(table["other_prompt"]) == {"Oakland", "Miami"} and "all neurons" in set(table["group"])
    assert (table["answer_before"] == " Austin").all()
    assert set(table["answer_other"]) == {" Sacramento", " Tallahassee"}
    assert (table["n_null"] == 100).all() and (table["p"] >= 1 / 101 - 1e-9).all()
    whole = table[(table["group"] == "all neurons") & (table["other_prompt"] == "Oakland")]
    assert (whole["moved"] > whole["null_mean"]).all()


def test_the_record_has_the_circuits_own_set(made: Path) -> None:
    name = list_circuits(made / "run", CHECKS)[0]
    record = circuit_folder(name).read_record(made / "run", CHECKS)
    own = record.facts["circuit"]
    assert own["k"] <= 12 and own["random"]["n"] == own["complement_random"]["n"] == 100
    assert record.facts["full"] > record.facts["empty"]
    assert not [p for p in (made / "run" / "circuits" / name).iterdir() if "partial" in p.name]


def test_the_common_neurons_are_tested_in_every_prompt_also_the_held_out_one(made: Path) -> None:
    folder = circuit_folder("cases")
    table = folder.read_table(made / "run", COMMON_CHECKS)
    assert table["held_out"].tolist() == [False, False, True]
    assert (table["k"] == table["n_common"]).all() and (table["n_random"] == 100).all()
    assert (table["faithfulness"] > table["random_mean"])[~table["held_out"]].all()
    assert table["p"].between(1 / 101 - 1e-9, 1).all() and table["complement"].notna().all()
    facts = folder.read_record(made / "run", COMMON_CHECKS).facts
    assert facts["held_out"]["n"] == facts["held_out"]["n_scored"] == 1 and facts["others"]["n"] == 2
    assert facts["held_out"]["keep"]["mean"] == pytest.approx(table["faithfulness"][2])
    assert facts["held_out"]["keep"]["sd"] is None and facts["others"]["keep"]["sd"] > 0
    assert not [p for p in (made / "run" / "circuits" / "cases").iterdir() if "partial" in p.name]
    with Run.open(made / "run") as run:
        assert check_results(run).faults == []


@pytest.mark.slow
def test_finished_tests_are_kept_unless_their_settings_are_others(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[str] = []

    def counted(run: Run, one: stage.Tested, *rest: Any) -> None:
        tested.append(one.name)
        stage.write_checks(run, one, *rest)

    monkeypatch.setattr(tests_of_circuits, "write_checks", counted)
    before = (made / "run" / "circuits" / "cases" / "common_checks_meta.json").read_bytes()
    assert checked(made) == 0
    assert tested == [] and (made / "run" / "circuits" / "cases" / "common_checks_meta.json").read_bytes() == before
    assert checked(made, "--n_swaps", "0") == 0
    assert len(tested) == 3
    name = list_circuits(made / "run", CHECKS)[0]
    assert circuit_folder(name).read_table(made / "run", SWAPS).empty


@pytest.mark.slow
def test_one_circuit_prints_its_tests(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--run_dir",
        str(made / "run"),
        "--prompt_id",
        "Dallas",
        "--target_token",
        " Austin",
        "--reference",
        "zero",
    ]
    assert main([*flags, *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    own, line = [line for line in lines if line.startswith("tested")]
    assert "own neurons of the circuit keep" in own and "100 sets" in own
    assert "the 200 strongest neurons keep" in line and "100 sets" in line


def test_flags_of_tests_need_checks(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--run_dir", str(made / "run"), "--quiet", "--n_random", "500"]
    assert main(flags) == 2
    assert "--n_random: has an effect with --checks alone. Add --checks" in capsys.readouterr().err


def test_copies_are_bounded_by_memory() -> None:
    hf = loaded("demo").hf
    few, many = copies_within(hf, 9, 4 << 20), copies_within(hf, 9, 64 << 20)
    assert 1 <= few < many == 64
    assert copies_within(hf, 9, 1) == 1
