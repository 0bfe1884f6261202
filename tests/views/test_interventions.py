"""Interventions as plain values: the list of results, labels, tables and number formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from intervention_results import (
    EFFECT,
    STEER,
    SWAP,
    SWAPS,
    effect_record,
    effect_table,
    steer_record,
    swap_pair,
    swap_record,
    write_all,
    write_result,
)
from run_folders import write_run

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify_results import check_results
from neuron_signatures.views.changes import intervention_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions import checks, doses, effects, labels, swaps
from neuron_signatures.views.interventions.results import intervention_refs, problem_lines, read_intervention
from neuron_signatures.views.interventions.sheets import Sheet, cell_text, columns, share_text


@pytest.fixture
def run(tmp_path: Path):
    write_all(write_run(tmp_path / "run"))
    with Run.open(tmp_path / "run") as opened:
        yield opened


def test_results_are_newest_first_in_plain_words(run):
    refs = intervention_refs(run.path, run.manifest)
    assert [r.stem for r in refs] == [STEER, EFFECT, SWAPS, SWAP]
    assert [r.title for r in refs] == [
        "steer: 3 neurons → ·Austin - ·Sacramento after first at 3",
        "effect: ablate 5 neurons → ·Austin - ·Sacramento after first at 3",
        "swap: 4 pairs, 3 flipped",
        "swap: ·Austin → ·Sacramento after first, flipped by 8 cells",
    ]
    assert refs[0].label.endswith("2026-02-03 04:04") and not problem_lines(refs)
    assert check_results(run).faults == []


def test_equal_labels_are_told_apart(run):
    write_result(run, "swap_other", swap_record(run, minute=1))
    refs = [r for r in intervention_refs(run.path, run.manifest) if r.mode == "swap"]
    assert len({r.label for r in refs}) == 3 and any("[swap_other]" in r.label for r in refs)


def test_what_cannot_be_read_is_one_line_each(run):
    folder = run.path / "interventions"
    (folder / f"{SWAP}.json").write_text("{}")
    (folder / f"{EFFECT}_meta.json").unlink()
    foreign = swap_record(run)
    foreign = foreign.model_copy(update={"run": foreign.run.model_copy(update={"model_name": "another"})})
    write_result(run, SWAPS, foreign)
    (folder / "swap_gone_meta.json").symlink_to(folder / "nowhere")
    lines = problem_lines(intervention_refs(run.path, run.manifest))
    assert len(lines) == 4 and all("\n" not in x for x in lines)
    text = "\n".join(lines)
    assert f"{EFFECT}: not finished" in text and f"{SWAPS}: made from another dump" in text
    assert f"{SWAP}: field " in text and "swap_gone: " in text


def test_a_run_without_interventions(tmp_path):
    write_run(tmp_path / "run")
    with Run.open(tmp_path / "run") as bare:
        assert intervention_refs(bare.path, bare.manifest) == [] and intervention_stamps(bare.path) == {}
        for stem in (SWAP, "../manifest", "analysis_meta"):
            with pytest.raises(UsageError):
                read_intervention(bare.path, stem)


def test_the_curve_begins_unedited_and_compares_with_the_prediction(run):
    pair = swap_pair(run, "p")
    sheet = swaps.curve_sheet(pair)
    assert sheet.column("k") == [0, 1, 2, 4, 8, 16] and sheet.column("note")[4] == "flips"
    assert sheet.column("difference")[0] == sheet.column("predicted")[0] == pair.difference_before
    assert sheet.column("predicted")[4] == pair.difference_before + pair.curve[3].predicted
    assert sheet.column("random 95 %")[:2] == [None, pair.difference_before + pair.band[0].high]


def test_cells_and_single_effects_name_their_neurons(run):
    pair = swap_pair(run, "p")
    sheet = swaps.cells_sheet(pair.cells, pair.destination.tokens)
    assert sheet.neurons[0] == NeuronAt(pair.cells[0].layer, pair.cells[0].neuron)
    assert sheet.column("token")[0] == "·x"
    single = effects.single_effects(run.path, EFFECT)
    assert single.column("#") == list(range(1, 13)) and single.column("p")[3:5] == [0.001, None]
    assert single.column("neuron")[0] == f"{single.neurons[0].label}-"


def test_a_large_table_is_cut_and_says_so(run):
    table = effect_table(run, 1200).sample(frac=1, random_state=0)
    write_result(run, EFFECT, effect_record(run), table)
    sheet = effects.single_effects(run.path, EFFECT)
    assert len(sheet.rows) == effects.MOST_ROWS and sheet.note == "the first 1,000 of 1,200"
    assert sheet.column("#")[:3] == [1, 2, 3]
    (run.path / "interventions" / f"{EFFECT}.parquet").write_bytes(b"")
    with pytest.raises(BadRunError):
        effects.single_effects(run.path, EFFECT)


def test_controls_stand_beside_the_observed_effect(run):
    controls = swap_pair(run, "p").controls
    sheet = checks.controls_sheet(controls)
    assert sheet.column("change") == [6.0, 0.1, 0.2, 1.1, -3.2, 0.9] and sheet.column("sets")[1] == 1000
    (wrong,) = checks.control_lines(controls)
    assert "·Denver +4.800" in wrong and "flips to it with 6 cells" in wrong
    side = swap_pair(run, "p").side_effects
    assert checks.neutral_sheet(side).column("KL") == [0.06, 0.04, 0.02, 0.0]


def test_the_verdict_falls_back_on_the_numbers(run):
    one = swap_record(run, verdict="")
    assert labels.verdict(one) == "Flips with 8 cells: difference -5.000 → +1.000."
    never = swap_record(run, verdict="", pairs=[swap_pair(run, "p", smallest_k=None)])
    assert labels.verdict(never).startswith("Does not flip with all 16 cells tried")
    steer = steer_record(run).model_copy(update={"verdict": ""})
    assert labels.verdict(steer) == "The response is not monotone: it reverses after alpha = 8."
    assert labels.verdict(effect_record(run).model_copy(update={"verdict": ""})).endswith("target: -3.500.")


def test_doses_say_where_the_response_turns_and_the_text_breaks(run):
    record = steer_record(run)
    sheet = doses.doses_sheet(record)
    assert sheet.column("alpha") == ["-8", "-4", "0", "+4", "+8", "+16"]
    assert sheet.column("note") == ["breaks", "", "unsteered", "", "turns", "breaks"]
    assert sheet.column("random mean")[3] == pytest.approx(5.0 + 0.4)
    assert doses.dose_texts(record)[0] == ("alpha 0 unsteered", " Austin, which is")


def test_shares_are_listed_where_they_change(run):
    summary = read_intervention(run.path, SWAPS).summary
    longer = [summary.flipped_by_k[0].model_copy(update={"k": k}) for k in range(1, 40)]
    sheet = swaps.shares_sheet(summary.model_copy(update={"flipped_by_k": [*longer, *summary.flipped_by_k[1:]]}))
    assert sheet.column("k") == [1, 4, 8, 16] and sheet.column("flipped") == [0.0, 0.25, 0.5, 0.75]


def test_empty_columns_are_left_out():
    sheet = Sheet("x", columns(("a", "text"), ("b", "count"), ("c", "p")), [["", 0, None], ["", 1, None]])
    assert [c.name for c in sheet.without_empty().columns] == ["b"]
    assert sheet.column("c") == sheet.column("none") == [None, None]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "p", ""), ("x", "text", "x"), (1234, "count", "1,234"), (0.25, "signed", "+0.250"),
        (-0.00123, "signed", "-0.00123"), (0.0, "signed", "0"), (192916.3, "size", "192,916"),
        (0.123456, "size", "0.123"), (0.001, "p", "0.001"), (0.237, "share", "23.7 %"), (1e-7, "share", "<0.001 %"),
        (1e-9, "signed", "+1e-09"),
    ],
)  # fmt: skip
def test_numbers_as_text(value, kind, text):
    assert cell_text(value, kind) == text
    assert share_text(0.0007) == "0.07 %" and share_text(1.0) == "100.0 %"


def test_records_are_read_back_as_they_were_written(run):
    record = swap_record(run, minute=1)
    assert read_intervention(run.path, SWAP) == record
    raw = json.loads((run.path / "interventions" / f"{SWAP}.json").read_text())
    assert raw["pairs"][0]["edits"][0].keys() == {"layer", "neuron", "pos", "value"}
