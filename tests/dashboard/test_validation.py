"""The Validation part of the Ranking view: intervals, spreads, the best ranking, and score against effect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explorer import DEMO, html_of, open_page, read_as_markdown, shown

from neuron_signatures.dashboard.ranking import validation_figures as figures
from neuron_signatures.dashboard.ranking.validation_tables import control_frame, metric_frame, with_intervals
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.result_records import ValidationRecord, read_record
from neuron_signatures.runs.results import list_validations
from neuron_signatures.views.lists.effects import SampledEffects, read_effects
from neuron_signatures.views.lists.validated import best_line, measured_line

STEM = "validation_seed_prompt_all_next_token_pos8_tok704"
NOT_SEPARATED = "dla 0.038 and act_grad 0.039 are not separated (lower with 11 of 20 resampled references)"
SEPARATED = "act_grad 0.967, then dla 0.399 (difference 0.57, 95 % interval 0.4 to 0.7)"
SAMPLED = {
    "n_pairs": 2560, "n_measured": 250, "sampled": True,
    "winner_single": "act_grad", "winner_single_why": SEPARATED, "winner_single_criterion": "highest Spearman",
    "winner_sets": None, "winner_sets_why": NOT_SEPARATED, "winner_sets_criterion": "least CMD",
}  # fmt: skip


def sampled_record(folder: Path = DEMO) -> dict[str, Any]:
    """The record of the small run as a command with a sample writes it; its metrics are dla and act_grad."""
    record = json.loads((folder / "analysis" / f"{STEM}.json").read_text()) | SAMPLED
    record["metrics"] = [m for m in record["metrics"] if m["metric"] != "ablation"]
    for m in record["metrics"]:
        m |= {"pearson": 0.7, "pearson_low": 0.6, "pearson_high": 0.75, "spearman": 0.4, "spearman_low": 0.2}
        m |= {"spearman_high": 0.55, "cmd_spread": 0.0025, "cmd_draws": [0.035, None, 0.04]}
        m["controls"] = [c | {"n_random": 24, "exceeded": 10, "p": 10 / 24} for c in m["controls"]]
    return record


def write_sampled(folder: Path, *, scores: tuple[str, ...] = ("dla", "act_grad"), **columns: list[float]) -> Path:
    """Replace the validation of a copy of the small run by one of a sample of three pairs."""
    analysis = folder / "analysis"
    (analysis / f"{STEM}.json").write_text(json.dumps(sampled_record(folder)))
    table = {"layer": [1, 3, 4], "neuron": [7, 8, 178], "ctx_idx": [8, 8, 8], "effect": [0.1, -2.0, 3.0]}
    table |= {"weight": [20.0, 1.0, 1.0]} | {m: [0.5, -1.0, 2.0] for m in scores} | columns
    pq.write_table(pa.table(table), analysis / f"{STEM}_effects.parquet")
    return analysis


def record_of(raw: dict[str, Any]) -> ValidationRecord:
    return ValidationRecord.model_validate(raw)


def older() -> ValidationRecord:
    return read_record(DEMO, f"{STEM}.json", ValidationRecord)


def validation_page(root: Path, monkeypatch):
    page = open_page(root, monkeypatch, view="ranking")
    page.segmented_control(key="ui_rank_part").set_value("Validation").run()
    assert not page.exception
    return page


# The page


def test_a_sampled_validation_is_shown_with_its_sample_and_reasons(demo, monkeypatch):
    write_sampled(demo / "demo")
    page = validation_page(demo, monkeypatch)
    text = shown(page)
    assert "a sample of 250 of 2,560 (neuron, position) pairs" in text
    assert SEPARATED in text and f"none: {NOT_SEPARATED}" in text and "highest Spearman." in text
    assert len(page.get("plotly_chart")) == 5 and not page.error
    assert page.dataframe[0].value["pearson 95 %"].tolist() == ["0.600 to 0.750"] * 2
    assert page.dataframe[1].value["sets drawn"].tolist() == [24] * 4
    page.selectbox(key="ui_val_metric").set_value("act_grad").run()
    assert not page.exception and "3 sampled pairs" in shown(page)


def test_an_older_validation_marks_its_winners_and_has_no_intervals(demo, monkeypatch):
    page = validation_page(demo, monkeypatch)
    assert len(page.get("plotly_chart")) == 4 and "Score against effect" not in shown(page)
    frame = page.dataframe[0].value
    assert frame.set_index("metric")["best"].to_dict() == {"dla": "", "act_grad": "single", "ablation": "sets"}
    assert not [c for c in frame if "95 %" in c or "spread" in c]
    assert "as faithful" not in page.dataframe[1].value


def test_a_damaged_table_of_effects_does_not_hide_the_rest(demo, monkeypatch):
    analysis = write_sampled(demo / "demo", scores=("dla",))
    page = validation_page(demo, monkeypatch)
    assert "has no column act_grad" in shown(page) and len(page.get("plotly_chart")) == 4
    (analysis / f"{STEM}_effects.parquet").unlink()
    page.run()
    page.button(key="reload").click().run()
    assert "has not been made yet" in shown(page) and len(page.dataframe) == 2


def test_a_sample_without_finite_values_has_no_figure(demo, monkeypatch):
    write_sampled(demo / "demo", effect=[float("nan"), float("inf"), None])
    page = validation_page(demo, monkeypatch)
    assert "no pair with a finite effect" in shown(page) and len(page.get("plotly_chart")) == 4


# Lines and tables


@pytest.mark.parametrize(
    ("winner", "why", "line"),
    [
        ("act_grad", SEPARATED, SEPARATED),
        (None, NOT_SEPARATED, f"none: {NOT_SEPARATED}"),
        ("ig", None, "ig"),
        (None, None, "undecided"),
    ],
)
def test_the_best_is_named_with_its_reason(winner, why, line):
    assert best_line(winner, why) == line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ": a sample of 250 of 2,560 (neuron, position) pairs"),
        ({"sampled": False, "n_measured": 2560}, ": all 2,560 (neuron, position) pairs"),
        ({"sampled": False, "top_from": "dla:250"}, ": 250 of 2,560 (neuron, position) pairs, chosen by --top_from "
                                                    "dla:250"),
        ({"n_pairs": None}, "references of their own"),
    ],
)  # fmt: skip
def test_the_line_says_what_was_measured(changes, says):
    assert measured_line(record_of(sampled_record() | changes)).endswith(says)


def test_the_exported_table_has_the_ends_of_intervals_as_numbers():
    frame = metric_frame(record_of(sampled_record()))
    assert frame["spearman low"].tolist() == [0.2, 0.2] and frame["CMD spread"].tolist() == [0.0025] * 2
    assert list(with_intervals(frame))[2:6] == ["pearson", "pearson 95 %", "spearman", "spearman 95 %"]
    raw = sampled_record()
    raw["metrics"][0] |= {"spearman": None, "spearman_low": None, "spearman_high": None}
    shown_text = with_intervals(metric_frame(record_of(raw)))["spearman 95 %"].tolist()
    assert shown_text == ["", "0.200 to 0.550"]
    assert control_frame(record_of(raw))["as faithful"].tolist() == [10] * 4


# Figures


def test_intervals_are_error_bars_around_the_value():
    m = record_of(sampled_record()).metrics
    spearman, pearson = figures.agreement(m).data
    assert (spearman.name, list(spearman.x)) == ("spearman", [0.4, 0.4])
    assert np.allclose(spearman.error_x.array, 0.15) and np.allclose(spearman.error_x.arrayminus, 0.2)
    assert np.allclose(pearson.error_x.array, 0.05) and "interval 0.600 to 0.750" in pearson.text[0]
    assert not set(spearman.y) & set(pearson.y)  # one below the other
    old = figures.agreement(older().metrics).data[0]
    assert old.error_x.array is None and "interval" not in old.text[0]


def test_cmd_is_shown_with_every_resampled_reference():
    references, cmd = figures.cmd_by_metric(record_of(sampled_record()).metrics).data
    assert list(references.x) == [0.035, 0.04] * 2 and list(references.y) == [0, 0, 1, 1]
    assert "spread 0.0025" in cmd.text[0]
    (alone,) = figures.cmd_by_metric(older().metrics).data
    assert "spread" not in alone.text[0] and len(alone.x) == 3
    assert figures.cmd_by_metric([m.model_copy(update={"cmd": None}) for m in older().metrics]) is None


def test_points_are_larger_where_they_stand_for_more_pairs(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    write_sampled(tmp_path / "run")
    effects = read_effects(tmp_path / "run", STEM, ["dla", "act_grad"])
    certain, sampled, _ = figures.score_against_effect(effects, "dla").data
    assert list(certain.x) == [3.0, -2.0] and list(certain.y) == [2.0, -1.0]
    assert certain.customdata.tolist() == [[4, 178], [3, 8]]
    assert list(sampled.x) == [0.1] and sampled.marker.size[0] > max(certain.marker.size)
    assert "stands for 20 pairs" in sampled.text[0]


def test_a_figure_has_a_limited_number_of_points():
    n = figures.MOST_POINTS + 100
    zeros, effect = np.zeros(n, np.int64), np.linspace(-1, 1, n) ** 3
    few = figures.score_against_effect(SampledEffects(zeros, zeros, zeros, effect, zeros + 1.0, {"dla": effect}), "dla")
    shown_effects = np.concatenate([np.array(t.x) for t in few.data[:2]])
    assert len(shown_effects) == figures.MOST_POINTS
    assert np.abs(shown_effects).min() >= np.sort(np.abs(effect))[99]


# Files


def test_effects_are_read_where_all_values_are_known(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    write_sampled(tmp_path / "run", dla=[0.5, None, float("nan")])
    effects = read_effects(tmp_path / "run", STEM, ["dla"])
    assert (effects.layer.tolist(), effects.neuron.tolist(), effects.pos.tolist()) == ([1], [7], [8])
    assert effects.scores["dla"].tolist() == [0.5] and effects.weight.tolist() == [20.0]
    with pytest.raises(BadRunError, match="has no column relp"):
        read_effects(tmp_path / "run", STEM, ["dla", "relp"])
    write_sampled(tmp_path / "run", weight=["1", "2", "3"])
    with pytest.raises(BadRunError, match="column weight: has type"):
        read_effects(tmp_path / "run", STEM, ["dla"])
    (tmp_path / "run" / "analysis" / f"{STEM}_meta.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        read_effects(tmp_path / "run", STEM, ["dla"])


def test_hostile_names_of_metrics_are_refused_or_read_once(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    write_sampled(tmp_path / "run", pole=["a", "b", "c"])
    with pytest.raises(BadRunError, match="column pole: is text"):
        read_effects(tmp_path / "run", STEM, ["pole"])
    assert list(read_effects(tmp_path / "run", STEM, ["dla", "layer", "dla", "effect"]).scores) == ["dla"]


def test_hostile_text_in_a_validation_is_not_interpreted(demo, monkeypatch):
    path = write_sampled(demo / "demo", **{"<b>EVIL": [1.0, 2.0, 3.0]}) / f"{STEM}.json"
    record = json.loads(path.read_text())
    record["metrics"][0]["metric"] = "<b>EVIL"
    evil = {f"winner_{what}_{end}": "![EVIL](http://evil.invalid)" for what in ("single", "sets") for end in
            ("why", "criterion")}  # fmt: skip
    path.write_text(json.dumps(record | evil))
    page = validation_page(demo, monkeypatch)
    assert "EVIL](" not in read_as_markdown(page) and "<b>" not in "".join(html_of(page))
    assert len(page.get("plotly_chart")) == 5 and "<b>" not in str([c.proto.spec for c in page.get("plotly_chart")])


def test_a_table_of_effects_is_no_validation_of_its_own(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    write_sampled(tmp_path / "run")
    assert list_validations(tmp_path / "run") == [STEM]


def test_earlier_records_have_no_reasons_and_intervals():
    v = older()
    assert v.winner_single == "act_grad" and v.winner_single_why is None and not v.sampled and v.n_pairs is None
    first = v.metrics[0]
    assert (first.pearson_low, first.cmd_spread, first.cmd_draws, first.controls[0].exceeded) == (None, None, [], None)
