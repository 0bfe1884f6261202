"""What lists say of neurons: tokens written, where they fire, filters over both, validation beside the name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analysis_runs import BOS, make_run, random_acts
from paths import DEMO_RUN

from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.tables.ranked_list import ListView, validation_text
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import Compare, Place, Text, parse
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import RankedList
from neuron_signatures.views.lists.validated import landing_list, unreadable_validations, validations
from neuron_signatures.views.neurons.descriptions import (
    NOTHING,
    Description,
    Descriptions,
    read_descriptions,
    shown_tokens,
)
from neuron_signatures.views.neurons.writes import writes_of
from neuron_signatures.views.predictions import predictions

ACT_GRAD = "influence_seed_prompt_act_grad_next_token_pos8_tok704"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The small demo run with the write scores of every neuron and a contrast."""
    run_dir = tmp_path_factory.mktemp("described") / "run"
    shutil.copytree(DEMO_RUN, run_dir)
    assert main(["--run_dir", str(run_dir), "--mode", "write_scores", "--device", "cpu", "--quiet"]) == 0
    contrast = ["--mode", "contrast", "--a", "concepts=capital@token: is", "--rank_by", "difference", "--quiet"]
    assert main(["--run_dir", str(run_dir), *contrast]) == 0
    return run_dir


def ranked(run_dir: Path, kind: str) -> RankedList:
    refs = [r for r in list_refs(run_dir, Run.open(run_dir).manifest) if r.kind == kind]
    return read_list(run_dir, next((r for r in refs if r.stem == ACT_GRAD), refs[0]), read_descriptions(run_dir))


@pytest.mark.parametrize(
    ("query", "terms"),
    [("L3 >0.5", [Place(3, None, ""), Compare(">", 0.5)]),
     ("L3N14- <= -1e-3", [Place(3, 14, "-"), Compare("<=", -0.001)]),
     ("promotes ·Austin", [Text("promotes", "·Austin")]),
     ("Suppresses: x fires:/a b/", [Text("suppresses", "x"), Text("fires", "/a b/")]),
     ('class:say_x "·new"', [Text("class", "say_x"), Text("any", '"·new"')]),
     ("class def", [Text("any", "class"), Text("any", "def")]),
     ("promotes", [Text("any", "promotes")]), ("<bos>", [Text("any", "<bos>")])],
)  # fmt: skip
def test_the_terms_of_a_filter(query, terms):
    assert parse(query) == terms


def test_an_invalid_regular_expression_is_an_error():
    with pytest.raises(UsageError, match="not a regular expression"):
        parse("fires:/(/")


@pytest.mark.parametrize("kind", ["influence", "peaks", "signatures", "contrast"])
@pytest.mark.parametrize("side", ["promotes", "suppresses"])
def test_a_filter_by_a_written_token_finds_what_the_write_scores_of_each_neuron_say(made, kind, side):
    found = ranked(made, kind)
    mask, poles = found.matching(f"{side}:Austin"), found.poles
    assert 0 < mask.sum() < len(found)
    for i in [*np.flatnonzero(mask)[:8], *np.flatnonzero(~mask)[:8]]:
        own = writes_of(made, NeuronAt(int(found.layer[i]), int(found.neuron[i])))
        assert own is not None
        raised = (side == "promotes") != bool(poles.negative[i])
        tokens = [w.token for w in (own.promotes if raised else own.suppresses)]
        shown = found.description(int(i))
        assert list(shown.promotes if side == "promotes" else shown.suppresses) == tokens
        assert mask[i] == any("austin" in t.casefold() for t in tokens)


def test_the_sign_of_a_row_is_that_of_its_distance_from_the_reference(made):
    found = ranked(made, "influence")
    assert (found.poles.negative == (found.acts() < 0)).all()  # an older list, by zero
    assert (ranked(made, "peaks").poles.negative == (ranked(made, "peaks").acts() < 0)).all()
    contrast = ranked(made, "contrast")
    assert [contrast.row(i).pole == "-" for i in range(20)] == contrast.poles.negative[:20].tolist()


def test_where_a_pole_fires_is_its_signature_with_its_texts_or_its_peak_tokens(made):
    found = ranked(made, "signatures")
    cls = [found.row(i).note.partition(":")[0] for i in range(len(found))]
    for i in (cls.index("say_x"), cls.index("unclassified")):
        text = found.description(i).fires
        values = found.table.slice(int(found.place[i]), 1).to_pylist()[0]
        if values["class"] == "say_x":
            assert text == f"say_x: {visible(values['name'])}, n {values['n_texts']}"
        else:
            assert text.startswith(f"{values['mode_peak_token']} ") and "/" in text


def test_one_word_searches_every_text_of_a_row(made):
    found = ranked(made, "influence")
    wide = found.matching("Texas")
    assert (wide >= found.matching("promotes:Texas") | found.matching("fires:Texas")).all()
    assert wide.sum() > replace(found, described=NOTHING).matching("Texas").sum()
    classes = found.matching("class:say_x")
    assert 0 < classes.sum() < len(found) and (classes <= found.matching("fires:say_x")).all()


def test_the_neuron_that_says_a_capital_is_found_in_the_contrast(made):
    found = ranked(made, "contrast")
    assert NeuronAt(1, 440) in [found.row(i).at for i in range(3)]


def test_without_the_table_the_tokens_of_results_with_write_scores_are_known(tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(DEMO_RUN, run_dir)
    described = read_descriptions(run_dir)
    assert described.notes == () and ranked(run_dir, "influence").description(0).promotes
    assert 0 < ranked(run_dir, "influence").matching("promotes:a").sum() <= 200


def test_missing_results_are_noted_with_the_command_and_damaged_ones_by_name(tmp_path, made):
    prompts = {"first": [BOS, " a"], "second": [BOS, " b"]}
    run = make_run(tmp_path / "empty", prompts, random_acts(prompts, n_layers=1, d_mlp=3))
    notes = read_descriptions(run.path).notes
    assert [any(mode in n for n in notes) for mode in ("--mode write_scores", "--mode signatures")] == [True, True]
    shutil.copytree(made, tmp_path / "damaged")
    (tmp_path / "damaged" / "analysis" / "write_scores.parquet").write_bytes(b"PAR1")
    damaged = read_descriptions(tmp_path / "damaged")
    assert damaged.written is None and damaged.fires is not None and "write_scores.parquet" in damaged.notes[0]
    assert not ranked(tmp_path / "damaged", "influence").matching("promotes:a").any()


def test_neurons_that_no_result_knows_have_no_description(made):
    described = read_descriptions(made)
    for at in (NeuronAt(7, 0), NeuronAt(-1, 5), NeuronAt(1 << 50, 1)):
        assert described.of(at, negative=False) == Description((), (), "")
    assert Descriptions(None, None, ()) == NOTHING


def test_tokens_beyond_the_first_are_shown_if_the_filter_found_them():
    tokens = [" a", " b", " c", " Austin"]
    assert shown_tokens(tokens, n=2) == "·a ·b"
    assert shown_tokens(tokens, ["austin"], n=2) == "·a ·b … ·Austin (#4)"


def test_validation_stands_beside_the_lists_that_it_measured(made):
    run = Run.open(made)
    refs = list_refs(made, run.manifest)
    found = validations(made, refs)
    assert {stem.split("_")[3] for stem in found} == {"dla", "act", "ablation"}
    assert found[ACT_GRAD].best_single and found[ACT_GRAD].short().startswith("Spearman 0.765*, CMD 0.209")
    text = " ".join(t for _, t in found[ACT_GRAD].lines())
    assert "random order 0" in text and "random sets 0.005" in text and "1,000 draws" in text


def test_a_list_of_other_positions_or_precision_has_no_validation(tmp_path, made):
    shutil.copytree(made, tmp_path / "run")
    file = tmp_path / "run" / "analysis" / f"{ACT_GRAD}_meta.json"
    meta = json.loads(file.read_text())
    for change in ({"analysis_dtype": "bf16"}, {"settings": {**meta["settings"], "positions": [0, 1]}}):
        file.write_text(json.dumps({**meta, **change}))
        refs = list_refs(tmp_path / "run", None)
        assert ACT_GRAD not in validations(tmp_path / "run", refs)


def test_the_landing_list_is_the_best_validated_one_of_the_newest_target(tmp_path, made):
    refs = list_refs(made, None)
    stem, *others = sorted(validations(made, refs), key=lambda stem: validations(made, refs)[stem].cmd or 1)
    assert landing_list(made, refs) == next(r for r in refs if r.stem == stem)  # the least CMD, which is the best
    assert landing_list(made, [r for r in refs if r.stem != stem]) == next(r for r in refs if r.stem == others[0])
    other = [r for r in refs if r.kind != "influence"]
    assert landing_list(made, other) == other[1] and other[1].kind == "peaks"
    shutil.copytree(made, tmp_path / "run")
    for file in (tmp_path / "run" / "analysis").glob("validation_*"):
        file.unlink()
    left = list_refs(tmp_path / "run", None)
    assert landing_list(tmp_path / "run", left) == left[0]


def test_the_prediction_of_a_prompt_is_its_most_likely_recorded_token(tmp_path, made):
    run = Run.open(made)
    found = predictions(made, run.manifest)
    assert list(found) == ["seed_prompt"]
    assert found["seed_prompt"].text(8).startswith("→ ·Austin 99.") and found["seed_prompt"].text(9).endswith("after 8")
    shutil.copytree(made, tmp_path / "run")
    for file in (tmp_path / "run" / "analysis").glob("influence_*_meta.json"):
        meta = json.loads(file.read_text())
        meta["target"]["token"] |= {"rank": 25, "probability": 0.0001}
        file.write_text(json.dumps(meta))
    (found_now,) = predictions(tmp_path / "run", run.manifest).values()
    assert found_now.text(8) == "→ ·Austin <0.1 %, rank 25"
    other = run.manifest.model_copy(update={"created_at_utc": "2020-01-01T00:00:00+00:00"})
    assert predictions(made, other) == {}


def test_a_regular_expression_takes_linear_time(made):
    found = ranked(made, "influence")
    assert not found.matching(r"/^((.|\w)+)+#$/").any()  # Python's expressions take exponential time for it
    assert (found.matching("promotes:/^·Aus/") == found.matching("promotes:·Aus")).all()
    with pytest.raises(UsageError, match="not a regular expression"):
        parse("/a(?=b)/")  # RE2 has no lookahead


def test_a_field_without_text_is_an_error():
    with pytest.raises(UsageError, match="promotes: has nothing to look for"):
        parse("L3 promotes:")


def test_a_damaged_validation_is_named(tmp_path, made):
    shutil.copytree(made, tmp_path / "run")
    assert unreadable_validations(made) == []
    (file,) = (tmp_path / "run" / "analysis").glob("validation_*tok704.json")
    file.write_text("{")
    (fault,) = unreadable_validations(tmp_path / "run")
    assert file.name in fault and validations(tmp_path / "run", list_refs(tmp_path / "run", None)) == {}
    view = ListView.read(OpenedRun.open(tmp_path / "run"), list_refs(tmp_path / "run", None)[0])
    assert "a validation cannot be read" in validation_text(view) and file.name in view.faults[0]
