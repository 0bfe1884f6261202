"""`--mode steer` end to end on the demo model, and its commonest mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from intervention_runs import NEUTRAL
from steer_skill_runs import halves, make_run

from neuron_signatures.poc7_compare_skills import main
from neuron_signatures.runs.skills.columns import STEERED_TEXTS, STEERING, STEERING_SUMMARY
from neuron_signatures.runs.skills.meta import ResultMeta, read_meta

DOSES = ("0.1", "0.3")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("steer"), per_class=8)


def argv(run_dir: Path, *flags: str) -> list[str]:
    """A short command: two texts of each class, one unit of each class and source."""
    folder = run_dir.parent
    neutral = folder / "neutral.json"
    neutral.write_text(json.dumps(NEUTRAL))
    return [
        "--run_dir", str(run_dir), "--mode", "steer", "--saes",
        str(folder / "saes"), "--directions", str(folder / "directions.safetensors"), "--top", "1",
        "--texts_per_class", "2", "--text_tokens", "12", "--n_neutral", "1", "--neutral_json", str(neutral), "--device",
        "cpu", "--quiet", *flags,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def steered(made) -> Path:
    """The run after one command: a feature of each class, at two doses."""
    flags = (
        "--sources",
        "sae",
        "--alpha",
        ",".join(DOSES),
        "--figures",
        "png,svg",
        "--generate",
        "1",
        "--new_tokens",
        "3",
    )
    assert main(argv(made, *flags)) == 0
    return made


def tables(run_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = run_dir / "skills"
    return pd.read_parquet(folder / "steering.parquet"), pd.read_parquet(folder / "steering_summary.parquet")


def test_the_tables_have_their_columns_and_all_controls(steered) -> None:
    frame, summary = tables(steered)
    assert list(frame.columns) == list(STEERING)
    assert list(summary.columns) == list(STEERING_SUMMARY)
    specific = frame[frame["role"] == "specific"]
    assert set(specific["dose"]) == {float(d) for d in DOSES}
    assert len(specific) == 4 * 2 * 4  # a unit of each class, at each dose, on the texts of each class
    for role in ("random", "matched"):
        counts = frame[frame["role"] == role].groupby(["for_class", "dose", "class"])["unit"].nunique()
        assert (counts == 100).all() and len(counts) == 32
    own = specific.set_index(["for_class", "label"]).index.unique()
    of = frame[frame["role"] != "specific"]
    assert set(of["of_unit"]) == {label for _, label in own}
    assert (of["label"] != of["of_unit"]).all()


def test_the_summary_can_be_computed_from_the_table(steered) -> None:
    frame, summary = tables(steered)
    for _, row in summary.iterrows():
        same = frame[(frame["for_class"] == row["class"]) & (frame["class"] == row["class"])
                     & (frame["dose"] == row["dose"])]  # fmt: skip
        effect = same.loc[same["role"] == "specific", row["outcome"]].item()
        controls = same.loc[same["role"] == row["role"], row["outcome"]].to_numpy()
        assert row["effect"] == pytest.approx(effect)
        assert row["win_rate"] == pytest.approx((controls < effect).mean())
        assert row["p"] == pytest.approx((1 + (controls >= effect).sum()) / (1 + len(controls)))
        assert row["control_sd"] == pytest.approx(controls.std())
        assert row["low"] <= row["effect"] <= row["high"] or np.isclose(row["low"], row["high"])
    assert set(summary["outcome"]) == {"effect", "against_others", "class_tokens"}
    chosen = summary.groupby("class")["chosen"].sum()
    assert (chosen == 6).all()  # one dose, for both roles and three outcomes


def test_against_others_is_the_own_class_less_the_mean_of_the_others(steered) -> None:
    frame, _ = tables(steered)
    one = frame[frame["role"] == "specific"].groupby(["label", "for_class", "dose"])
    for _, rows in one:
        effects = rows.set_index("class")["effect"]
        for name, row in rows.set_index("class").iterrows():
            others = effects.drop(name).mean()
            assert row["against_others"] == pytest.approx(row["effect"] - others, abs=1e-9)


def test_the_record_and_the_other_files(steered) -> None:
    meta = read_meta(steered, "steer", ResultMeta)
    assert meta.facts["dose_chosen_on"] == "find"
    assert meta.facts["n_units"] == 4
    assert {row["for_class"] for row in meta.facts["classes"]} == set(tables(steered)[0]["for_class"])
    assert {f.name for f in meta.files} == {"steering.parquet", "steering_summary.parquet", "steered_texts.parquet"}
    texts = pd.read_parquet(steered / "skills" / "steered_texts.parquet")
    assert list(texts.columns) == list(STEERED_TEXTS) and len(texts) == 4
    figures = {p.name for p in (steered / "skills" / "figures").iterdir()}
    assert {"steer_mathematics_sae_add.png", "steer_mathematics_sae_add.svg"} <= figures
    assert not list((steered / "skills").glob("*_partial*"))


def test_held_out_texts_do_not_enter_the_choice_of_units_doses_or_controls(made, monkeypatch, tmp_path) -> None:
    """Texts that are measured before the effects, and the units' facts, are of `find` only."""
    from neuron_signatures.interventions.side_effects.neutral import load_neutral
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
    from neuron_signatures.runs.run import Run
    from neuron_signatures.runs.skills.reader import Skills
    from neuron_signatures.skills.specific import SpecificChoice
    from neuron_signatures.skills.steer.doses import Doses
    from neuron_signatures.skills.steer.request import SteerRequest
    from neuron_signatures.skills.steer.run import prepare
    from neuron_signatures.skills.steer.units import bank_facts

    folder = made.parent
    request = SteerRequest(
        SpecificChoice(1, sources=("sae",)), ("add",), Doses((0.1,), (1.0,), (1.0,)), None, 100, 3, 1, 12, 8, 0,
        load_neutral(None), ModelOverrides(dtype="fp32", device="cpu"), saes=str(folder / "saes"),
    )  # fmt: skip
    with Run.open(made) as run, Skills.open(made) as skills:
        prepared = prepare(run, skills, request)
        half = skills.texts.set_index("text")["half"]
        assert set(half[list(prepared.find.numbers)]) == {"find"}
        assert set(half[list(prepared.held_out.numbers)]) == {"held_out"}
        bank = prepared.plan.units[0].bank
        before = bank_facts(skills, bank)
        stats = skills.stats(bank)
        rows = halves(range(len(skills.texts))) == "held_out"
        peak = stats.peak.toarray()
        peak[rows] = 1e6
        changed = type(stats)(bank, stats.total, type(stats.peak)(peak), stats.topk, stats.threshold, stats.n_tokens)
        monkeypatch.setattr(skills, "stats", lambda bank: changed)
        after = bank_facts(skills, bank)
    np.testing.assert_array_equal(before.share, after.share)
    np.testing.assert_array_equal(before.peak, after.peak)


def test_a_stopped_command_takes_its_finished_changes_over(made, monkeypatch, capsys) -> None:
    from neuron_signatures.skills.steer import results
    from neuron_signatures.skills.steer.measure import Measure

    measured: list[int] = []
    responses = Measure.responses

    def counted(self, weights, changes):
        if sum(measured) >= 60:
            raise KeyboardInterrupt
        measured.append(len(changes))
        return responses(self, weights, changes)

    monkeypatch.setattr(results, "_AT_ONCE", 30)
    monkeypatch.setattr(Measure, "responses", counted)
    flags = ("--sources", "neurons", "--classes", "empathy", "--neuron_alpha", "4", "--dose", "4")
    run_dir = made.parent / "stopped"
    shutil.copytree(made, run_dir)
    flags_of = argv(made, *flags)
    flags_of[1] = str(run_dir)
    with pytest.raises(KeyboardInterrupt):
        main.__wrapped__(flags_of)
    assert measured == [30, 30] and list((run_dir / "skills").glob("*_partial*"))
    measured.clear()
    monkeypatch.setattr(Measure, "responses", lambda s, w, c: (measured.append(len(c)), responses(s, w, c))[1])
    assert main(flags_of) == 0
    frame, _ = tables(run_dir)
    assert sum(measured) == frame[["unit", "value"]].drop_duplicates().shape[0] - 60


def test_faults_are_one_line(made, tmp_path, capsys) -> None:
    def fault(*flags: str, run_dir: Path = made) -> str:
        capsys.readouterr()
        flags_of = argv(made, *flags)
        flags_of[1] = str(run_dir)
        assert main(flags_of) != 0
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    bare = tmp_path / "run"
    shutil.copytree(made, bare)
    without_units = tmp_path / "without"
    shutil.copytree(made, without_units)
    (bare / "skills" / "compare_meta.json").unlink()
    (without_units / "skills" / "specific_units.parquet").unlink()
    assert "--mode compare" in fault(run_dir=bare)
    assert "specific_units.parquet: is missing" in fault(run_dir=without_units)
    assert "class music has no specific units" in fault("--classes", "music")
    assert "layer 4 has no specific units" in fault("--layers", "4")
    assert "has no effect with --mode steer" in fault("--top_k", "2")
    assert "is neither a number nor find" in fault("--dose", "best")
    assert "directions cannot be clamped" in fault("--sources", "pca", "--edit", "clamp")
    assert "none of the doses" in fault("--sources", "neurons", "--classes", "empathy", "--dose", "0.123")


def test_a_unit_that_was_not_collected_is_refused(made, tmp_path, capsys) -> None:
    from steer_skill_runs import write_specific

    from neuron_signatures.runs.results import open_results
    from neuron_signatures.runs.run import Run

    bare = tmp_path / "run"
    shutil.copytree(made, bare)
    frame = pd.read_parquet(bare / "skills" / "specific_units.parquet").head(1).assign(unit=9999, rank=1)
    seal = json.loads((bare / "skills" / "collect_meta.json").read_text())["record_sha256"]
    with Run.open(bare) as run, open_results(run, "skills") as writer:
        write_specific(writer, run, frame, seal)
    flags = argv(made)
    flags[1] = str(bare)
    assert main(flags) != 0
    assert "names unit 9999 of sae.res.2, which has 256" in capsys.readouterr().err


def test_a_dry_run_says_what_it_takes(made, capsys) -> None:
    assert main(argv(made, "--sources", "neurons", "--classes", "empathy", "--neuron_alpha", "4", "--dry_run")) == 0
    out = capsys.readouterr().out
    assert out.startswith("forecast: 1 specific units: 1 changes on 8 texts of find, ")
