"""Data of both viewers on hand-made runs: names, statistics, ranked lists, search, changes."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from analysis_runs import BOS, make_run, make_v1_run
from paths import DEMO_RUN

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.result_records import (
    GroupsRecord,
    InfluenceRecord,
    PeaksRecord,
    SignaturesRecord,
    ValidationRecord,
    WriteScoresRecord,
    another_dump,
    read_record,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.views import acts as va
from neuron_signatures.views.changes import analysis_stamps, changed, run_stamps
from neuron_signatures.views.coords import NeuronAt, check_neuron, parse_neuron
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import SORT_KEYS, signature_note
from neuron_signatures.views.neurons.facts import signatures_of, write_scores_of
from neuron_signatures.views.search import find_tokens

DEMO = DEMO_RUN
PROMPTS = {"first": [BOS, " a", " b"], "second": [BOS, " b"]}


@pytest.fixture
def run(tmp_path):
    """Layers 2 and 5, three neurons. Neuron 1 of layer 5 peaks negatively at ` b` of the first prompt."""
    acts = {
        "first": np.array([[[90, 0, 0], [1, 2, 3], [-4, 0, 0]], [[50, 0, 0], [0, -7, 0], [0, -9, 1]]], np.float32),
        "second": np.array([[[80, 0, 0], [5, 0, 0]], [[0, 0, 0], [0, 8, np.nan]]], np.float32),
    }
    return make_run(tmp_path / "run", PROMPTS, acts, layers=[2, 5], n_layers=6, model_name="lab/toy")


@pytest.mark.parametrize("text", ["5/1", "L5N1", "l5 n1", "toy/5/1", "TOY/5/1", "lab/toy/5/1", " 5 / 1 "])
def test_a_neuron_has_several_spellings(run, text):
    assert parse_neuron(text, run) == NeuronAt(5, 1)
    assert NeuronAt(5, 1).label == "L5N1"


@pytest.mark.parametrize(
    ("text", "why"),
    [("5", "names no neuron"), ("", "names no neuron"), ("gemma-2-2b/5/1", "another model"),
     ("4/1", "not stored: 2, 5"), ("5/3", r"0\.\.2"), ("5/-1", "names no neuron"), ("5/1/1/1", "another model")],
)  # fmt: skip
def test_other_spellings_are_refused(run, text, why):
    with pytest.raises(UsageError, match=why):
        parse_neuron(text, run)


def test_a_negative_neuron_is_refused(run):
    with pytest.raises(UsageError):
        check_neuron(run, NeuronAt(5, -1))


def test_spans():
    assert spans([0, 1, 2, 4, 7, 8]) == "0..2, 4, 7..8"


def test_statistics_leave_out_the_bos_and_what_is_not_finite(run):
    prompt = run.prompt("first")
    values = run.acts(prompt, layer=2, neuron=0)
    without = va.stats_of(values, va.counted(run, prompt, include_bos=False))
    assert (without.n, without.max, without.max_pos, without.min, without.min_pos) == (2, 1, 1, -4, 2)
    assert (without.mean, without.std, without.peak_abs, without.peak_pos) == (-1.5, 2.5, 4, 2)
    assert va.stats_of(values, va.counted(run, prompt, include_bos=True)).max == 90
    second = run.prompt("second")
    nothing = va.stats_of(run.acts(second, layer=5, neuron=2), va.counted(run, second, include_bos=False))
    assert (nothing.n, nothing.n_nonfinite, nothing.max, nothing.mean, nothing.peak_abs) == (0, 1, None, None, None)


def test_a_prompt_of_a_bos_alone_has_nothing_to_show(tmp_path):
    run = make_run(tmp_path / "run", {"only": [BOS]}, {"only": np.ones((1, 1, 2), np.float32)})
    (line,) = va.layer_lines(run, run.prompts[0], include_bos=False)
    assert line.max_abs is None and line.n_nonfinite == 0
    assert va.peak_place(run, NeuronAt(0, 0)) is None
    assert va.peak_place(run, NeuronAt(0, 0), include_bos=True) == (0, 0)


def test_the_layer_overview(run):
    two, five = va.layer_lines(run, run.prompt("first"), include_bos=False)
    assert (two.layer, two.value, two.max_abs, two.neuron, two.pos) == (2, -4, 4, 0, 2)
    assert two.mean_abs == pytest.approx(10 / 6) and two.mean == pytest.approx(2 / 6) and (two.min, two.max) == (-4, 3)
    assert (five.layer, five.value, five.neuron, five.pos) == (5, -9, 1, 2)
    (_, with_nan) = va.layer_lines(run, run.prompt("second"), include_bos=False)
    assert with_nan.n_nonfinite == 1
    assert (with_nan.value, with_nan.mean_abs) == (8, 4)  # of 0 and 8


def test_the_layer_overview_agrees_with_a_direct_computation():
    with Run.open(DEMO) as run:
        prompt = run.prompts[1]
        acts = run.acts(prompt)[:, 1:]
        for line, a in zip(va.layer_lines(run, prompt, include_bos=False), acts, strict=True):
            assert line.max_abs == np.abs(a).max()
            assert line.mean_abs == pytest.approx(np.abs(a).mean(), rel=1e-5)
            assert line.std == pytest.approx(a.std(), rel=1e-5)
            assert run.acts(prompt, layer=line.layer, pos=line.pos, neuron=line.neuron) == line.value


def test_the_top_neurons_at_a_token(run):
    prompt = run.prompt("first")
    assert va.top_at(run, prompt, 2, 2) == [(NeuronAt(5, 1), -9.0), (NeuronAt(2, 0), -4.0)]
    assert len(va.top_at(run, prompt, 2, 100)) == 6
    assert NeuronAt(5, 2) not in [n.at for n in va.top_at(run, run.prompt("second"), 1, 100)]  # it is NaN


def test_a_slice_at_a_position_is_that_position_of_the_whole(run):
    whole = run.acts("first")
    assert np.array_equal(run.acts("first", pos=2), whole[:, 2])
    assert np.array_equal(run.acts("first", layer=5, pos=1), whole[1, 1])
    assert run.acts("first", layer=5, pos=1, neuron=1) == -7
    with pytest.raises(UsageError, match=r"position 3 is not in 0\.\.2"):
        run.acts("first", pos=3)


def test_the_peak_over_prompts_and_of_a_pole(run):
    assert va.peak_place(run, NeuronAt(5, 1)) == (0, 2)
    assert va.peak_place(run, NeuronAt(5, 1), pole="+") == (1, 1)
    assert va.peak_place(run, NeuronAt(2, 0), include_bos=True) == (0, 0)
    assert [p.stats.max for p in va.over_prompts(run, NeuronAt(2, 0), include_bos=False)] == [1, 5]


def test_the_first_position_is_excluded_with_or_without_bos(tmp_path):
    acts = {k: np.ones((1, len(t), 1), np.float32) for k, t in PROMPTS.items()}
    for prepended in (True, False):
        old = make_v1_run(tmp_path / str(prepended), PROMPTS, acts, prepend_bos=prepended)
        assert va.counted(old, old.prompts[0], include_bos=False).tolist() == [False, True, True]
        assert va.counted(old, old.prompts[0], include_bos=True).all()
        assert old.acts("first", layer=0, pos=1, neuron=0) == 1


def test_searching_tokens(run):
    assert [(h.prompt_index, h.pos) for h in find_tokens(run, "B")] == [(0, 0), (0, 2), (1, 0), (1, 1)]
    assert [(h.prompt_id, h.pos) for h in find_tokens(run, "·b")] == [("first", 2), ("second", 1)]
    assert len(list(find_tokens(run, '" b"'))) == 2 and not list(find_tokens(run, '"b"'))
    with pytest.raises(UsageError):
        list(find_tokens(run, ""))


def test_a_result_of_another_dump_is_detected():
    manifest = Run.open(DEMO).manifest
    record = read_record(DEMO, "analysis_meta.json", PeaksRecord)
    assert another_dump(manifest, record) == ""

    def changed(**fields):
        return record.model_copy(update={"run": record.run.model_copy(update=fields)})

    older = changed(created_at_utc="2020-01-02T03:04:05+00:00")
    assert another_dump(manifest, older).startswith("made from another dump (2020-01-02T03:04:05) than this run (20")
    assert "(weights_fingerprint)" in another_dump(manifest, changed(weights_fingerprint="x"))
    assert "does not say which dump" in another_dump(manifest, record.model_copy(update={"run": None}))
    refs = list_refs(DEMO, manifest.model_copy(update={"n_tokens": 77}))
    assert len(refs) == 5 and all("(n_tokens)" in r.doubt for r in refs)
    assert "(n_tokens)" in read_list(DEMO, refs[0]).warnings[0]
    assert not any(r.doubt for r in list_refs(DEMO, manifest))


def test_an_infinite_score_comes_last(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    ref = next(r for r in list_refs(DEMO) if r.kind == "influence")
    path = tmp_path / "run" / "analysis" / f"{ref.stem}.parquet"
    table = pq.read_table(path)
    scores = [math.inf, -math.inf, math.nan, *table["influence"].to_pylist()[3:]]
    pq.write_table(table.set_column(table.column_names.index("influence"), "influence", [scores]), path)
    ranked = read_list(tmp_path / "run", ref)
    assert np.isfinite(ranked.score[:-3]).all() and np.isnan(ranked.score[-3:]).all()


def test_the_lists_of_a_run_and_how_they_were_made():
    refs = list_refs(DEMO)
    assert [r.kind for r in refs] == ["influence", "influence", "influence", "peaks", "signatures"]
    assert refs[0].title == "ablation by mean → ·Austin (next_token), seed_prompt at 8"
    for ref in refs:
        ranked = read_list(DEMO, ref)
        n_neurons = 3 * 512 if ref.kind != "influence" or "ablation" in ref.stem else 5 * 512
        assert len(ranked) == n_neurons * (2 if ref.kind == "signatures" else 1)
        scores = [abs(ranked.row(i).score) for i in range(50)]
        assert scores == sorted(scores, reverse=True)
        assert ("made" in dict(ranked.meta)) and all(isinstance(v, str) for v in dict(ranked.meta).values())
        for key in SORT_KEYS:
            assert sorted(ranked.order(key)) == list(range(len(ranked)))


def test_a_row_of_each_list_agrees_with_the_activations():
    with Run.open(DEMO) as run:
        for ref in list_refs(DEMO)[:4]:
            ranked = read_list(DEMO, ref)
            stored = np.flatnonzero(np.isin(ranked.layer, run.layers))  # influence ranks every layer of the model
            for i in stored[[0, 7, 100]]:
                row = ranked.row(int(i))
                act = float(run.acts(row.prompt_id, layer=row.at.layer, pos=row.pos, neuron=row.at.neuron))
                assert row.act == pytest.approx(act, rel=0.01)  # influence scores activations before rounding to bf16
                assert row.token == run.prompt(row.prompt_id).tokens[row.pos]
                if ref.kind == "peaks":
                    assert va.peak_place(run, row.at) is not None
                    prompt, pos = va.peak_place(run, row.at)
                    assert abs(run.acts(prompt, layer=row.at.layer, pos=pos, neuron=row.at.neuron)) == abs(row.act)


def test_filters_of_a_list():
    ranked = read_list(DEMO, next(r for r in list_refs(DEMO) if r.kind == "signatures"))
    assert set(ranked.layer[ranked.matching("L3")]) == {3}
    assert ranked.matching("l3n14+").sum() == 1 and ranked.matching("L3N14").sum() == 2
    say = ranked.matching("SAY_x >1")
    assert 0 < say.sum() < len(ranked)
    assert all(ranked.row(int(i)).note.startswith("say_x") for i in np.flatnonzero(say)[:20])
    assert (ranked.score[ranked.matching(">=2 <3")] < 3).all()
    assert ranked.matching("").all() and not ranked.matching("no such text").any()
    assert not ranked.matching(">x").any()
    assert ranked.row(ranked.find(NeuronAt(4, 178))).at == (4, 178) and ranked.find(NeuronAt(2, 1)) is None


def test_a_damaged_record_is_listed_with_the_reason(tmp_path):
    shutil.copytree(DEMO / "analysis", tmp_path / "analysis")
    stem = list_refs(DEMO)[0].stem
    path = tmp_path / "analysis" / f"{stem}_meta.json"
    meta = json.loads(path.read_text())
    for text, why in (("{", "not valid JSON"), ("{}", "field stage: Field required (and "),
                      (json.dumps(meta | {"target": None}), "field target: "),
                      (json.dumps(meta | {"selected_share": "all"}), "field selected_share: ")):  # fmt: skip
        path.write_text(text)
        ref = next(r for r in list_refs(tmp_path) if r.stem == stem)
        assert ref.problem.startswith(f"{path.name}: ") and why in ref.problem
        with pytest.raises(UsageError, match=path.name):
            read_list(tmp_path, ref)


RECORDS = {
    "analysis_meta.json": PeaksRecord, "signatures_meta.json": SignaturesRecord, "groups.json": GroupsRecord,
    "influence_*_meta.json": InfluenceRecord, "*_write_scores.json": WriteScoresRecord,
    "validation_*tok704.json": ValidationRecord,
}  # fmt: skip


@pytest.mark.parametrize("pattern", RECORDS)
def test_the_records_of_stage_2_are_valid(pattern):
    paths = list((DEMO / "analysis").glob(pattern))
    assert paths
    for path in paths:
        record = read_record(DEMO, path.name, RECORDS[pattern])
        stored = json.loads(path.read_text())
        for name, value in record.model_dump(mode="json", by_alias=True, exclude_unset=True).items():
            assert name in stored and (isinstance(value, dict | list) or stored[name] == value)


def test_results_without_a_reference_are_by_what_their_record_says():
    """Older files: dla and act_grad were by zero, ablation by what neurons were set to."""
    titles = {r.stem: r.title for r in list_refs(DEMO) if r.kind == "influence"}
    by = {stem.split("_next_token")[0].removeprefix("influence_seed_prompt_"): t for stem, t in titles.items()}
    assert {m: t.split(" → ")[0] for m, t in by.items()} == {
        "dla": "dla by zero",
        "act_grad": "act_grad by zero",
        "ablation": "ablation by mean",
    }
    for ref in list_refs(DEMO):
        if ref.kind == "influence":
            assert ("reference", "mean" if "ablation" in ref.stem else "zero") in read_list(DEMO, ref).meta
    (path,) = (DEMO / "analysis").glob("validation_*tok704.json")
    assert "references of their own" in read_record(DEMO, path.name, ValidationRecord).truth


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"reference": "run:large"}, "run:large"),
        ({"ablate_with": "zero"}, "zero"),
        ({"baseline": "mean"}, "mean"),
        ({"source": "prompt:x"}, "prompt:x, negative sign"),
        ({}, "zero"),
    ],
)
def test_the_reference_of_a_record(fields, name):
    path = next((DEMO / "analysis").glob("influence_*_dla_*_meta.json"))
    raw = json.loads(path.read_text())
    assert InfluenceRecord.model_validate(raw | fields).reference_name() == name


def test_nothing_is_listed_before_the_analysis(tmp_path):
    assert list_refs(tmp_path) == [] and write_scores_of(tmp_path, NeuronAt(0, 0)) == []
    with pytest.raises(UsageError, match="poc2_analyze_run"):
        signatures_of(tmp_path, NeuronAt(0, 0))


def test_signatures_and_write_scores_of_a_neuron():
    up, down = signatures_of(DEMO, NeuronAt(4, 178))
    assert (up.pole, down.pole) == ("+", "-")
    assert up.low <= up.consistency <= up.high
    stored = write_scores_of(DEMO, NeuronAt(4, 178))
    assert len(stored) == 2 and stored[0].promotes[0].score > 0 > stored[0].suppresses[0].score


def test_changes_on_disk_are_noticed(run):
    before = run_stamps(run)
    assert changed(before, run_stamps(run)) == []
    path = run.path / "manifest.json"
    path.write_text(path.read_text() + "\n")
    assert changed(before, run_stamps(run)) == ["manifest.json"]
    tensors = run.path / "activations.safetensors"
    tensors.rename(run.path.parent / "elsewhere")
    tensors.symlink_to(run.path.parent / "elsewhere")
    assert changed(before, run_stamps(run)) == ["activations.safetensors", "manifest.json"]
    assert run_stamps(run)["activations.safetensors"].size == -1
    assert analysis_stamps(run.path) == {}
    (run.path / "analysis").mkdir()
    (run.path / "analysis" / "x.json").write_text("1")
    assert list(analysis_stamps(run.path)) == ["x.json"]


def test_a_class_is_shown_with_its_n_and_both_nulls():
    assert signature_note("say_x", "Say (Austin)", 5) == "say_x: Say (Austin), n 5"
    assert signature_note("say_x", None, 7) == "say_x, n 7"
    assert signature_note("unclassified", None, 7) == "unclassified"
    (ref,) = [r for r in list_refs(DEMO_RUN) if r.kind == "signatures"]
    meta = dict(read_list(DEMO_RUN, ref).meta)
    null = json.loads((DEMO_RUN / "analysis" / "signatures_meta.json").read_text())["null"]
    for title, what in (("shuffled", "shuffled"), ("other prompts", "other_prompts")):
        say = null[what]["classes"]["say_x"]
        assert f"say_x {say['mean']:.1f} ({say['low']} to {say['high']})" in meta[title]
    assert f"precision {null['other_prompts']['classes']['say_x']['precision']:.2f}" in meta["other prompts"]
