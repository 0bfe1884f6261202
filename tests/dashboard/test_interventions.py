"""The Interventions view: results, tables, addresses, damaged results and hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest
from explorer import HOSTILE, open_page, plain_run, read_as_markdown, shown
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
    write_hostile,
    write_result,
)

from neuron_signatures.dashboard.interventions.figures import answer_curve, dose_response, share_curve, swap_curve
from neuron_signatures.dashboard.interventions.sheet_table import sheet_frame
from neuron_signatures.dashboard.widgets.figure_style import ORANGE
from neuron_signatures.runs.run import Run
from neuron_signatures.views.interventions.results import read_intervention
from neuron_signatures.views.interventions.swaps import curve_sheet


@pytest.fixture
def edited(demo: Path) -> Path:
    """A runs root with the demo run and four interventions."""
    write_all(demo / "demo")
    return demo


def test_a_run_without_interventions_names_the_whole_command(demo: Path, monkeypatch):
    page = open_page(demo, monkeypatch, view="interventions")
    text = shown(page)
    assert "poc3_intervene --run_dir" in text and "--mode swap --prompt_id seed_prompt --source_text" in text
    assert not page.exception and not page.error


@pytest.mark.parametrize(
    ("stem", "says", "n_tables"),
    [
        (SWAP, ["Flips with 8 cells", "Wrong source", "neutral prompt", "·Sacramento"], 6),
        (SWAPS, ["3 of 4 pairs flip", "held out", "75.0 %"], 3),
        (EFFECT, ["lowers the logit difference", "Left out: wrong source", "perplexity"], 6),
        (STEER, ["not monotone: it reverses after alpha = 8", "Austin, which is", "breaks at alpha = -8"], 2),
    ],
)
def test_a_result_is_shown_with_its_verdict_and_tables(edited: Path, monkeypatch, stem, says, n_tables):
    page = open_page(edited, monkeypatch, view="interventions", result=stem)
    text = shown(page)
    assert not page.exception and not page.error, page.error
    assert all(words in text for words in says), text
    assert len(page.dataframe) == n_tables
    assert page.query_params["result"] in (stem, [stem])


def test_the_newest_result_is_first_and_the_choice_is_in_the_address(edited: Path, monkeypatch):
    page = open_page(edited, monkeypatch, view="interventions")
    assert page.query_params["result"] in (STEER, [STEER])
    box = page.selectbox(key="ui_intervention")
    assert [o.partition(":")[0] for o in box.options] == ["steer", "effect", "swap", "swap"]
    box.set_value(SWAP).run()
    assert page.query_params["result"] in (SWAP, [SWAP]) and "Flips with 8 cells" in shown(page)


def test_a_pair_of_many_opens_by_its_address(edited: Path, monkeypatch):
    page = open_page(edited, monkeypatch, view="interventions", result=SWAPS, pair="3")
    assert "Does not flip with all 16 cells tried" in shown(page) and not page.exception
    for wrong in ("99", "x", "0"):
        page = open_page(edited, monkeypatch, view="interventions", result=SWAPS, pair=wrong)
        assert "3 of 4 pairs flip" in shown(page) and len(page.dataframe) == 3 and not page.exception


def test_a_wrong_result_gives_a_message_and_the_newest(edited: Path, monkeypatch):
    for wrong in ("../../manifest", "swap_<b>", "effect_gone"):
        page = open_page(edited, monkeypatch, view="interventions", result=wrong)
        assert "does not exist or cannot be read" in shown(page) and not page.exception
        assert page.query_params["result"] in (STEER, [STEER])


def test_damaged_unfinished_and_foreign_results_are_one_line_each(edited: Path, monkeypatch):
    folder = edited / "demo" / "interventions"
    (folder / f"{STEER}.json").write_text('{"stage": 1}')
    (folder / f"{EFFECT}_meta.json").unlink()
    with Run.open(edited / "demo") as run:
        record = swap_record(run)
        foreign = record.run.model_copy(update={"created_at_utc": "2020-01-01T00:00:00", "model_name": "other"})
        write_result(run, SWAP, record.model_copy(update={"run": foreign}))
    page = open_page(edited, monkeypatch, view="interventions", result=SWAP)
    text = shown(page)
    assert not page.exception and "Flips with 8 cells" in text
    assert (
        f"{STEER}: field " in text and f"{EFFECT}: not finished" in text and f"{SWAP}: made from another dump" in text
    )


def test_a_damaged_table_does_not_hide_the_record(edited: Path, monkeypatch):
    (edited / "demo" / "interventions" / f"{EFFECT}.parquet").write_bytes(b"PAR1")
    page = open_page(edited, monkeypatch, view="interventions", result=EFFECT)
    assert "lowers the logit difference" in shown(page) and "its footer is not" in shown(page)
    assert not page.exception


def test_results_of_few_fields(tmp_path: Path, monkeypatch):
    """Without curve, controls, side effects and texts, and with neurons that the run does not store."""
    plain_run(tmp_path / "run")
    with Run.open(tmp_path / "run") as run:
        pair = swap_pair(run, "p", smallest_k=None)
        cells = [c.model_copy(update={"layer": 90}) for c in pair.cells]
        few = {"curve": [], "band": [], "controls": None, "side_effects": None, "cells": cells, "top_before": []}
        write_result(run, "swap_a", swap_record(run, pairs=[pair.model_copy(update=few)], verdict=""))
        effect = effect_record(run).model_copy(update={"as_set": None, "controls": None, "observed": None, "cells": []})
        write_result(run, "effect_a", effect, effect_table(run, 0))
        steer = steer_record(run)
        doses = [d.model_copy(update={"text": "", "null": None, "perplexity": None}) for d in steer.doses[:1]]
        write_result(run, "steer_a", steer.model_copy(update={"doses": doses, "side_effects": None}))
    for stem in ("swap_a", "effect_a", "steer_a"):
        page = open_page(tmp_path, monkeypatch, view="interventions", result=stem)
        assert not page.exception and not page.error, stem


def test_hostile_text_is_never_markup(tmp_path: Path, monkeypatch):
    plain_run(tmp_path / "run")
    evil = "".join(HOSTILE[1:])
    write_hostile(tmp_path / "run", evil[:1000], HOSTILE)
    for stem in ("swap_evil", "effect_evil", "steer_evil"):
        page = open_page(tmp_path, monkeypatch, view="interventions", result=stem, pair="1")
        assert not page.exception and not page.error, stem
        assert "EVIL" not in read_as_markdown(page), stem
        assert not any("<img" in h or "<script" in h or "<iframe" in h for h in page_html(page)), stem


def test_the_figures_have_the_numbers_of_the_record(edited: Path):
    record = read_intervention(edited / "demo", SWAP)
    pair = record.pairs[0]
    curve = {t.name: t for t in swap_curve(pair).data}
    assert list(curve["actual"].x) == [0, 1, 2, 4, 8, 16] and curve["actual"].y[0] == pair.difference_before
    assert curve["predicted"].y[-1] == pytest.approx(pair.difference_before + pair.curve[-1].predicted)
    assert curve["random cells, 5 to 95 %"].y[1] == pytest.approx(pair.difference_before + pair.band[0].mean)
    assert [t.name for t in answer_curve(pair).data] == ["·Sacramento (source)", "·Austin (destination)"]
    steer = read_intervention(edited / "demo", STEER)
    nulls, line = dose_response(steer, "difference").data
    assert list(line.x) == [-8, -4, 0, 4, 8, 16] and list(line.y) == [d.prediction.difference for d in steer.doses]
    assert nulls.y[0] == pytest.approx(5.0 - 0.8) and len(dose_response(steer, "probability").data) == 1
    many = read_intervention(edited / "demo", SWAPS)
    figures = [swap_curve(pair), answer_curve(pair), dose_response(steer, "probability"),
               share_curve([("a", many.summary.flipped_by_k), ("b", many.shared.selection)])]  # fmt: skip
    assert all(ORANGE not in f.to_json() for f in figures)


def test_a_sheet_keeps_the_types_of_its_columns(edited: Path):
    frame = sheet_frame(curve_sheet(read_intervention(edited / "demo", SWAP).pairs[0]))
    assert str(frame["k"].dtype) == "Int64" and str(frame["difference"].dtype) == "float64"
    assert frame["note"].tolist() == ["", "", "", "", "flips", ""]


def page_html(page) -> list[str]:
    return [e.proto.body for e in page.get("html")]
