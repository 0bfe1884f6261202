"""Lists in CSV or JSON without a Parquet table: of the earlier tool, and copied exports."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from analysis_runs import BOS, make_run, random_acts
from earlier_tool import STEM, peak_rows, write_csv, write_influence, write_peaks
from paths import DEMO_RUN

from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.plain import csv_safe
from neuron_signatures.runs.results import meta_name, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import files_of, list_refs, read_list
from neuron_signatures.views.neurons.facts import signatures_of

PROMPTS = {"first": [BOS, " a", " b"], "second": [BOS, " b"]}
NEURONS = "neurons_aggregated"


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", PROMPTS, random_acts(PROMPTS, n_layers=2, d_mlp=5))


def the_list(run, n=0):
    refs = list_refs(run.path, run.manifest)
    return refs[n], read_list(run.path, refs[n])


@pytest.mark.parametrize("csv_file", [True, False])
def test_peaks_of_the_earlier_tool_are_a_list(run, csv_file):
    write_peaks(run.path, csv_file=csv_file)
    ref, ranked = the_list(run)
    kind, file = ("CSV", f"{NEURONS}.csv") if csv_file else ("JSON", "top_neurons.json")
    assert (ref.title, ref.problem, files_of(ref)[1]) == (f"peaks over 2 prompts ({kind})", "", file)
    rows = [ranked.row(i) for i in range(3)]
    assert [r.at for r in rows] == [NeuronAt(0, 2), NeuronAt(1, 1), NeuronAt(0, 0)]
    assert [(r.score, r.note) for r in rows] == [(3.0, " c"), (2.0, " b"), (1.0, " a")]
    assert all(r[4:8] == (None, None, None, None) for r in rows) and np.isnan(ranked.acts()).all()
    assert file in ranked.warnings[0] and "keeps this file as *.earlier*" in ranked.warnings[0]
    assert ranked.matching("b").tolist() == [False, True, False]
    assert ranked.order("token").tolist() == [0, 1, 2] and ("prompts", "2") in ranked.meta


@pytest.mark.parametrize(("kinds", "record"), [("csv", True), ("json", True), ("csv", False)])
def test_influence_of_the_earlier_tool_is_a_list(run, kinds, record):
    write_influence(run.path, kinds=[kinds], record=record)
    ref, ranked = the_list(run)
    title = "dla → ·Austin (next_token), first at 2" if record else "influence"
    assert ref.title == f"{title} ({kinds.upper()})"
    assert [ranked.row(i).score for i in range(3)] == [-2.0, 1.0, 0.5]
    row = ranked.row(0)
    assert (row.at, row.prompt_id, row.pos, row.act, row.token) == (NeuronAt(0, 1), "first", 2, 1.5, None)


@pytest.mark.parametrize("name", [NEURONS, "signatures", "influence_seed_prompt_dla_next_token_pos8_tok704"])
def test_our_csv_alone_is_the_same_list(tmp_path, name):
    shutil.copytree(DEMO_RUN, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    before = next(r for r in list_refs(run.path, run.manifest) if r.stem == name)
    whole = read_list(run.path, before)
    parquet = run.path / "analysis" / f"{name}.parquet"
    pyarrow.csv.write_csv(csv_safe(pq.read_table(parquet), ("pole",)), parquet.with_suffix(".csv"))
    parquet.unlink()
    after = next(r for r in list_refs(run.path, run.manifest) if r.stem == name)
    found = read_list(run.path, after)
    assert after.title == f"{before.title} (CSV)" and after.created_at_utc == before.created_at_utc
    assert len(found) == len(whole) and found.score_name == whole.score_name
    for i in range(5):
        ours, theirs = whole.row(i), found.row(i)
        assert (ours.at, ours.pole, ours.pos, ours.prompt_id) == (theirs.at, theirs.pole, theirs.pos, theirs.prompt_id)
        assert theirs.score == pytest.approx(ours.score)
    assert "replaces this file" in found.warnings[0]
    if name == "signatures":
        assert [s.cls for s in signatures_of(run.path, whole.row(0).at)]


def test_hostile_text_of_a_csv_stays_data(run):
    hostile = ['a"b,c\nd', "\x1b]0;EVIL\x07", "=cmd|' /C EVIL'!A1"]
    write_peaks(run.path, tokens=hostile)
    _, ranked = the_list(run)
    assert [ranked.row(i).note for i in range(3)] == hostile[::-1]


@pytest.mark.parametrize(
    ("raw", "why"),
    [(b"layer,neuron,mean_peak_abs\n0,x,1\n", "invalid value 'x'"), (b"layer,neuron\n0,1", "Expected 2|read"),
     (b"neuron\n1\n", "has no column layer"), (b"layer,neuron,layer\n1,1,1\n", "twice"), (b"", "first line"),
     (b"layer,neuron,mode_peak_token\n0,1,\xff\n", "UTF8"), (b"l" * (1 << 17), "too long"),
     (b"layer,neuron,mode_peak_token\n0,1," + b"x" * (1 << 17) + b"\n", "65536 can be read"),
     (b'layer,neuron,mode_peak_token\n0,1,"' + b"x" * (3 << 20), "block")],
)  # fmt: skip
def test_a_damaged_csv_is_refused_in_one_line(run, raw, why):
    (run.path / "analysis").mkdir()
    (run.path / "analysis" / f"{NEURONS}.csv").write_bytes(raw)
    (ref,) = list_refs(run.path, run.manifest)
    if raw == b"layer,neuron\n0,1":
        assert len(read_list(run.path, ref)) == 1
        return
    with pytest.raises(BadRunError, match=why) as e:
        read_list(run.path, ref)
    assert f"{NEURONS}.csv" in e.value.line() and "\n" not in e.value.line()


@pytest.mark.parametrize(
    "record",
    ['{"a": 1}', "[1]", '[{"layer": 0}]', '[{"layer": 0, "neuron": "x"}]', "nonsense", '[{"layer": true, "neuron": 1}]',
     '[{"layer": 0, "neuron": 9223372036854775808}]', '[{"layer": 0, "neuron": 1, "mode_peak_token": 3}]'],
)  # fmt: skip
def test_a_damaged_json_list_is_refused_in_one_line(run, record):
    (run.path / "analysis").mkdir()
    (run.path / "analysis" / "top_neurons.json").write_text(record)
    (ref,) = list_refs(run.path, run.manifest)
    with pytest.raises(BadRunError):
        read_list(run.path, ref)


def test_peaks_keep_the_files_of_the_earlier_tool(run, caplog):
    write_peaks(run.path)
    before = {p.name: p.read_bytes() for p in (run.path / "analysis").iterdir()}
    assert main(["--run_dir", str(run.path), "--quiet"]) == 0
    names = {f"{NEURONS}.csv": f"{NEURONS}.earlier.csv", "top_neurons.json": "top_neurons.earlier.json",
             "analysis_meta.json": "analysis.earlier_meta.json"}  # fmt: skip
    for old, new in names.items():
        assert (run.path / "analysis" / new).read_bytes() == before[old]
        assert f"{old} was written by another tool; it is kept as {new}" in caplog.text
    assert [r.title for r in list_refs(run.path, run.manifest)] == [
        "peaks over 2 prompts",
        "peaks over 2 prompts (CSV)",
    ]
    assert len(the_list(run)[1]) == 10 and len(the_list(run, 1)[1]) == 3
    caplog.clear()
    assert main(["--run_dir", str(run.path), "--quiet"]) == 0  # our own files are replaced
    assert not caplog.text and len(list((run.path / "analysis").iterdir())) == 7
    found = verify_run(run.path)
    assert not found.faults and any("another tool" in r for r in found.remarks)
    assert runs_main(["verify", str(run.path)]) == 0


def test_the_earlier_tool_may_have_written_over_our_files(run):
    assert main(["--run_dir", str(run.path), "--quiet"]) == 0
    write_peaks(run.path)
    assert main(["--run_dir", str(run.path), "--quiet"]) == 0
    assert len((run.path / "analysis" / f"{NEURONS}.earlier.csv").read_text().splitlines()) == 4
    assert len(the_list(run)[1]) == 10


def test_a_validation_without_a_record_is_an_unfinished_one_of_ours(run, caplog):
    with open_results(run) as writer:
        writer.json("validation_x.json", {})
        writer.begin(meta_name("validation_x"))
    assert [p.name for p in (run.path / "analysis").iterdir()] == ["validation_x.json"] and not caplog.text


def test_files_of_the_earlier_tool_are_kept_twice(run):
    for score in ("1", "2"):
        for p in (run.path / "analysis").glob("*") if score == "2" else ():
            if ".earlier" not in p.name:
                p.unlink()
        write_csv(run.path / "analysis" / f"{NEURONS}.csv", [{**peak_rows()[0], "mean_peak_abs": score}])
        assert main(["--run_dir", str(run.path), "--quiet"]) == 0
    kept = [(run.path / "analysis" / f"{NEURONS}.earlier{n}.csv").read_text() for n in ("", "2")]
    assert [text.splitlines()[1].split(",")[2] for text in kept] == ["1", "2"]
    titles = [r.title for r in list_refs(run.path, run.manifest)]
    assert len(set(titles)) == len(titles) == 3


def test_lists_with_one_label_are_told_apart_by_their_files(tmp_path):
    shutil.copytree(DEMO_RUN, tmp_path / "run")
    stem, folder = "influence_seed_prompt_dla_next_token_pos8_tok704", tmp_path / "run" / "analysis"
    for tail in (".parquet", ".json", "_meta.json"):
        shutil.copy(folder / f"{stem}{tail}", folder / f"{stem}_layers0.3{tail}")
    titles = {r.stem: r.title for r in list_refs(tmp_path / "run")}
    assert titles[f"{stem}_layers0.3"] == f"{titles[stem]} [layers0.3]"
    assert len(set(titles.values())) == len(titles)


def test_an_influence_list_of_the_earlier_tool_keeps_its_record(run):
    write_influence(run.path)
    assert "--mode influence --prompt_id first" in the_list(run)[1].warnings[0]
    with open_results(run) as writer:
        writer.begin(meta_name(STEM))
    names = {p.name for p in (run.path / "analysis").iterdir()}
    assert names == {f"{STEM}.earlier.csv", f"{STEM}.earlier.json", f"{STEM}.earlier_meta.json"}
    assert the_list(run)[0].title == "dla → ·Austin (next_token), first at 2 (CSV)"
    assert json.loads((run.path / "analysis" / f"{STEM}.earlier.json").read_text())[0]["influence"] == 0.5
