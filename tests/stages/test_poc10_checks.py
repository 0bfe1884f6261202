"""`poc10_trace_circuit --checks` end to end: sets, swaps between prompts of a template, resuming, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attribution_cases import loaded

from neuron_signatures import poc1_dump_activations
from neuron_signatures.circuits import tested as tests_of_circuits
from neuron_signatures.circuits.checks import stage
from neuron_signatures.circuits.checks.copies import copies_within
from neuron_signatures.poc10_trace_circuit import main
from neuron_signatures.runs.circuits.folder import CHECKS, CURVES, SWAPS, circuit_folder, list_circuits
from neuron_signatures.runs.run import Run

ANSWERS = {"Dallas": " Austin", "Oakland": " Sacramento"}
FAST = ("--max_nodes", "12", "--candidates", "40", "--device", "cpu", "--quiet", "--checks", "--n_random", "100")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two prompts of one template, whose circuits are traced and tested."""
    folder = tmp_path_factory.mktemp("checks")
    texts = [{"id": city, "text": f"The capital of the state containing {city} is"} for city in ANSWERS]
    (folder / "prompts.json").write_text(json.dumps(texts))
    flags = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    where = ["--prompts_json", str(folder / "prompts.json"), "--out_dir", str(folder / "run")]
    assert poc1_dump_activations.main([*flags, *where]) == 0
    cases = [{"prompt_id": city, "target_token": token, "entity": city} for city, token in ANSWERS.items()]
    (folder / "cases.json").write_text(json.dumps(cases))
    assert checked(folder) == 0
    return folder


def checked(folder: Path, *flags: str) -> int:
    given = ["--run_dir", str(folder / "run"), "--cases", str(folder / "cases.json"), "--reference", "template"]
    return main([*given, *FAST, *flags])


def test_curves_have_random_sets_at_one_size(made: Path) -> None:
    names = list_circuits(made / "run", CHECKS)
    assert len(names) == 2
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
    assert set(table["other_prompt"]) == {"Oakland"} and "all neurons" in set(table["group"])
    assert (table["answer_before"] == " Austin").all()
    assert set(table["answer_other"]) == {" Sacramento"}
    assert (table["n_null"] == 100).all() and (table["p"] >= 1 / 101 - 1e-9).all()
    whole = table[table["group"] == "all neurons"]
    assert (whole["moved"] > whole["null_mean"]).all()


def test_the_record_has_the_circuits_own_set(made: Path) -> None:
    name = list_circuits(made / "run", CHECKS)[0]
    record = circuit_folder(name).read_record(made / "run", CHECKS)
    own = record.facts["circuit"]
    assert own["k"] <= 12 and own["random"]["n"] == own["complement_random"]["n"] == 100
    assert record.facts["full"] > record.facts["empty"]
    assert not [p for p in (made / "run" / "circuits" / name).iterdir() if "partial" in p.name]


@pytest.mark.slow
def test_finished_tests_are_kept_unless_their_settings_are_others(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[str] = []

    def counted(run: Run, one: stage.Tested, *rest: Any) -> None:
        tested.append(one.name)
        stage.write_checks(run, one, *rest)

    monkeypatch.setattr(tests_of_circuits, "write_checks", counted)
    assert checked(made) == 0
    assert tested == []
    assert checked(made, "--n_swaps", "0") == 0
    assert len(tested) == 2
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
    assert "neurons alone keep" in own
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
